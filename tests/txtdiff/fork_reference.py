"""The fork's network written down a second time, plainly: one picture, a function a layer, its tensor names.

Slow and straight, it shares no code with `txtdiff.model` and checks it. Weights come from the recipe of the
parity files, made when a layer first asks for them, so that running it also tells which tensors of which
shape the fork's state dict holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Flags = Mapping[str, Any]


def recipe(key: str, shape: tuple[int, ...]) -> Tensor:
    """The weights of a parity file: every one follows from its name (parity/README)."""
    n = np.random.RandomState(crc32(key.encode())).standard_normal(shape)
    if len(shape) >= 2:
        n = n / np.sqrt(np.prod(shape[1:]))
    else:
        n = 1 + 0.1 * n if key.endswith(("weight", ".g")) else 0.1 * n
    return torch.as_tensor(np.asarray(n)).float()


class ForkNetwork:
    """`run` computes the fork's output; `state` then holds the weights it used."""

    def __init__(
        self,
        flags: Flags,
        upsampler: bool,
        tower: Mapping[str, int] | None = None,
        n_tokens: int = 105,
        newline: int = 6,
    ) -> None:
        self.f, self.upsampler, self.tower = flags, upsampler, tower
        self.n_tokens, self.newline = n_tokens, newline
        self.state: dict[str, Tensor] = {}
        self.size = flags["large_size"] if upsampler else flags["image_size"]
        defaults = {256: "1,1,2,2,4,4", 64: "1,2,3,4", 32: "1,2,2,2"}
        self.mults = [float(m) for m in (flags["channel_mult"] or defaults[self.size]).split(",")]
        self.fused = flags["silu_impl"] == "fused"
        self.attention_ds = {self.size // int(r) for r in flags["attention_resolutions"].split(",")}
        self.text_ds = {self.size // int(r) for r in flags["txt_resolutions"].split(",")}
        self.embedding_width = 4 * flags["num_channels"]

    # small parts

    def w(self, key: str, *shape: int) -> Tensor:
        if key not in self.state:
            self.state[key] = recipe(key, shape)
        assert tuple(self.state[key].shape) == shape, key
        return self.state[key]

    def linear(self, name: str, x: Tensor, n_out: int, bias: bool = True) -> Tensor:
        weight = self.w(f"{name}.weight", n_out, x.shape[-1])
        return F.linear(x, weight, self.w(f"{name}.bias", n_out) if bias else None)

    def conv(self, name: str, x: Tensor, n_out: int, k: int = 3, stride: int = 1) -> Tensor:
        weight, bias = self.w(f"{name}.weight", n_out, x.shape[1], k, k), self.w(f"{name}.bias", n_out)
        return F.conv2d(x, weight, bias, padding=k // 2, stride=stride)

    def group_norm(self, name: str, x: Tensor, groups: int | None = None) -> Tensor:
        c = x.shape[1]
        groups = groups or (24 if c % 72 == 0 else 32)
        return F.group_norm(x, groups, self.w(f"{name}.weight", c), self.w(f"{name}.bias", c))

    def layer_norm(self, name: str, x: Tensor) -> Tensor:
        c = x.shape[-1]
        return F.layer_norm(x, (c,), self.w(f"{name}.weight", c), self.w(f"{name}.bias", c))

    @staticmethod
    def sinusoid(t: Tensor, width: int) -> Tensor:
        half = width // 2
        angles = t.float()[:, None] * torch.exp(-math.log(10000) * torch.arange(half).float() / half)
        return torch.cat([angles.cos(), angles.sin()] + [torch.zeros(len(t), 1)] * (width % 2), dim=1)

    def mlp(self, name: str, t: Tensor) -> Tensor:
        h = self.linear(f"{name}.0", self.sinusoid(t, self.f["num_channels"]), self.embedding_width)
        return self.linear(f"{name}.2", F.silu(h), self.embedding_width)

    def feed_forward(self, name: str, x: Tensor, mult: int, glu: bool) -> Tensor:
        hidden = x.shape[-1] * mult
        if glu:
            a, gate = self.linear(f"{name}.net.0.proj", x, 2 * hidden).chunk(2, dim=-1)
            h = a * F.gelu(gate)
        else:
            h = F.gelu(self.linear(f"{name}.net.0.0", x, hidden))
        return self.linear(f"{name}.net.3", h, x.shape[-1])

    # text

    def encode_text(self, ids: Tensor, t: Tensor) -> Tensor:
        f, d, n = self.f, self.f["txt_dim"], ids.shape[1]
        lines = (ids == self.newline).cumsum(1).clamp(max=31)
        places = self.w("text_encoder.pos_emb.emb.weight", f["max_seq_len"], d)[:n]
        places = places + self.w("text_encoder.line_emb.emb.weight", 32, d)[lines]
        time = self.linear("text_encoder.time_embed.1", F.silu(self.sinusoid(t, d)), d)
        tokens = self.w("text_encoder.token_emb.weight", self.n_tokens, d)[ids]
        x = tokens + (places + time[:, None]) * d**-0.5
        for i in range(2 * f["txt_depth"]):
            name = f"text_encoder.model.layers.{i}"
            h, inner = x, f"{name}.1"
            if f["txt_rezero"]:
                inner = f"{name}.1.fn"
            else:
                norm = h.norm(dim=-1, keepdim=True) * d**-0.5
                h = h / norm.clamp(min=1e-5) * self.w(f"{name}.0.0.g", 1)
            if i % 2 == 0:
                h = self.text_attention(inner, h, ids)
            else:
                h = self.feed_forward(inner, h, f["txt_ff_mult"], f["txt_ff_glu"])
            x = x + (h * self.w(f"{name}.1.g", 1) if f["txt_rezero"] else h)
        return x

    def text_attention(self, name: str, x: Tensor, ids: Tensor) -> Tensor:
        heads = x.shape[-1] // min(64, x.shape[-1])
        n = x.shape[1]
        q, k, v = (self.linear(f"{name}.to_{s}", x, heads * 64, bias=False) for s in "qkv")
        q, k, v = (s.view(1, n, heads, 64).transpose(1, 2) for s in (q, k, v))
        if self.f["txt_rotary"]:
            inverse = 1 / 10000 ** (torch.arange(0, 32, 2).float() / 32)
            angles = (torch.arange(n).float()[:, None] * inverse).repeat(1, 2)
            q, k, v = (torch.cat([self.turn_halves(s[..., :32], angles), s[..., 32:]], -1) for s in (q, k, v))
        logits = q @ k.transpose(-1, -2) / 8
        if self.f["txt_t5"]:
            table = self.w("text_encoder.model.rel_pos.relative_attention_bias.weight", 32, heads)
            buckets = torch.tensor([[self.bucket(i - j) for j in range(n)] for i in range(n)])
            logits = logits + table[buckets].permute(2, 0, 1) * 8
        logits = logits.masked_fill((ids == 0)[:, None, None], -torch.finfo(torch.float32).max)
        out = (logits.softmax(-1) @ v).transpose(1, 2).reshape(1, n, -1)
        return self.linear(f"{name}.to_out", out, x.shape[-1])

    @staticmethod
    def turn_halves(x: Tensor, angles: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=-1)
        return x * angles.cos() + torch.cat([-b, a], dim=-1) * angles.sin()

    @staticmethod
    def bucket(n: int) -> int:
        base, m = (16 if n < 0 else 0), abs(n)
        return base + (m if m < 8 else min(15, 8 + int(8 * math.log(m / 8) / math.log(16))))

    # captions

    def encode_caption(self, ids: Tensor) -> Tensor:
        assert self.tower is not None
        d, layers, heads = self.tower["width"], self.tower["layers"], self.tower["heads"]
        tokens = self.w("clipmod.token_embedding.weight", self.tower["vocab"], d)
        x = tokens[ids] + self.w("clipmod.positional_embedding", 77, d)
        causal = torch.full((77, 77), float("-inf")).triu(1)
        result = x
        for i in range(layers):
            name = f"clipmod.transformer.resblocks.{i}"
            h = self.layer_norm(f"{name}.ln_1", x)
            weight, bias = (
                self.w(f"{name}.attn.in_proj_weight", 3 * d, d),
                self.w(f"{name}.attn.in_proj_bias", 3 * d),
            )
            q, k, v = (
                s.view(1, 77, heads, -1).transpose(1, 2) for s in F.linear(h, weight, bias).chunk(3, -1)
            )
            a = ((q @ k.transpose(-1, -2) / math.sqrt(d / heads) + causal).softmax(-1) @ v).transpose(1, 2)
            x = x + self.linear(f"{name}.attn.out_proj", a.reshape(1, 77, d), d)
            h = self.linear(f"{name}.mlp.c_fc", self.layer_norm(f"{name}.ln_2", x), 4 * d)
            x = x + self.linear(f"{name}.mlp.c_proj", h * torch.sigmoid(1.702 * h), d)
            if i < layers - self.f["clip_use_penultimate_layer"]:  # the last block is stored in any case
                result = x
        own = self.f["clip_use_penultimate_layer"]
        normed = self.layer_norm("capt_ln_final" if own else "clipmod.ln_final", result)
        return normed if self.f["glide_style_capt_attn"] else result

    # attention between picture and text

    def modulated(self, name: str, x: Tensor, emb: Tensor, places: Tensor, norm: bool = True) -> Tensor:
        c = x.shape[1]
        scale, shift = (self.linear(f"{name}.emb_layers.1", emb, 2 * c)[:, :, None, None] + places).chunk(
            2, 1
        )
        groups = 1 if self.f["txt_groupnorm_1group"] and not self.fused else 32
        h = self.group_norm(f"{name}.normalization", x, groups) if norm else x
        h = h * (1 + scale) + shift
        return F.silu(h) if self.fused else h

    def places(self, res: int, c: int) -> Tensor:
        width = 2 * c if self.f["cross_attn_q_t_emb"] and not self.f["txt_avoid_groupnorm"] else c
        rows = self.w(f"tgt_pos_embs.{res}.weights_0", 1, res, 1, width)
        columns = self.w(f"tgt_pos_embs.{res}.weights_1", 1, 1, res, width)
        return (rows + columns).permute(0, 3, 1, 2)

    def multi_head(
        self, name: str, query: Tensor, source: Tensor, qkv: int, heads: int, keep: Tensor | None
    ) -> Tensor:
        q = self.linear(f"{name}.q", query, qkv, bias=False)
        k, v = (self.linear(f"{name}.{s}", source, qkv, bias=False) for s in "kv")
        q, k, v = (s.view(1, s.shape[1], heads, -1).transpose(1, 2) for s in (q, k, v))
        logits = q @ k.transpose(-1, -2) / math.sqrt(qkv / heads)
        if keep is not None:
            logits = logits - 10000.0 * (~keep)[:, None, None]
        out = (logits.softmax(-1) @ v).transpose(1, 2).reshape(1, query.shape[1], qkv)
        return self.linear(f"{name}.out_proj", out, query.shape[-1], bias=False)

    def gain(self, key: str, c: int) -> Tensor:
        if self.f["cross_attn_use_layerscale"]:
            return self.f["cross_attn_gain_scale"] * self.w(key, c)
        if self.f["cross_attn_rezero"]:
            return self.f["cross_attn_gain_scale"] * self.w(key, 1)
        return (self.f["cross_attn_gain_scale"] * self.w(key)).exp()

    def text_layer(
        self, name: str, x: Tensor, source: Tensor, keep: Tensor, emb: Tensor, caption: bool, post: bool
    ) -> Tensor:
        f, c, res = self.f, x.shape[1], x.shape[2]
        per_head = f["cross_attn_channels_per_head"]
        heads = f["txt_dim"] // per_head if per_head > 0 else f["num_heads"]
        if f["weave_attn"]:
            if not caption or f["weave_capt"]:
                source = self.image_to_text(
                    f"{name}.weave_attn.image_to_text_layers.0", x, source, emb, heads, caption
                )
            name = f"{name}.weave_attn.text_to_image_layers.0"
        else:
            name = f"{name}.cross_attn"
        prenorm = not caption and not (f["cross_attn_rezero"] and not f["cross_attn_rezero_keeps_prenorm"])
        q = self.image_side(f"{name}.tgt_ln", x, emb, prenorm)
        normed = self.layer_norm(f"{name}.src_ln", source) if prenorm else source
        a = self.multi_head(f"{name}.attn", q, normed, source.shape[-1], heads, keep) * self.gain(
            f"{name}.gain", c
        )
        x = x + a.transpose(1, 2).reshape(x.shape)
        return self.self_attention(f"{name}.post_txt_image_attn", x, heads, rotary=res) if post else x

    def image_side(self, name: str, x: Tensor, emb: Tensor, prenorm: bool) -> Tensor:
        places = self.places(x.shape[2], x.shape[1])
        if self.f["cross_attn_q_t_emb"]:
            return self.modulated(name, x, emb, places, prenorm).flatten(2).transpose(1, 2)
        if self.f["txt_avoid_groupnorm"]:
            h = (x + places).flatten(2).transpose(1, 2)
            return self.layer_norm(name, h) if prenorm else h
        h = self.group_norm(name, x) if prenorm else x
        return (h + places).flatten(2).transpose(1, 2)

    def image_to_text(
        self, name: str, x: Tensor, text: Tensor, emb: Tensor, heads: int, caption: bool
    ) -> Tensor:
        f, d = self.f, text.shape[-1]
        image = self.modulated(f"{name}.src_ln", x, emb, self.places(x.shape[2], x.shape[1]))
        image = image.flatten(2).transpose(1, 2)
        q = text if caption else self.layer_norm(f"{name}.tgt_ln", text)
        qkv = d if f["weave_qkv_dim_always_text"] else x.shape[1]
        text = text + self.multi_head(f"{name}.attn", q, image, qkv, heads, None) * self.gain(
            f"{name}.gain", d
        )
        if not f["weave_use_ff"]:
            return text
        rezero = f["weave_ff_rezero"]
        norm = f["weave_ff_force_prenorm"] or caption or not rezero
        h = self.layer_norm(f"{name}.ff_ln", text) if norm else text
        h = self.feed_forward(f"{name}.ff" + ".fn" * rezero, h, f["weave_ff_mult"], f["weave_ff_glu"])
        h = h * self.w(f"{name}.ff.g", 1) if rezero else h
        return text + (h * self.gain(f"{name}.gain_ff", d) if f["weave_use_ff_gain"] else h)

    # the U-Net

    def res_block(self, name: str, x: Tensor, n_out: int, emb: Tensor, resample: str = "") -> Tensor:
        def change(h: Tensor) -> Tensor:
            if resample == "down":
                return F.avg_pool2d(h, 2)
            return F.interpolate(h, scale_factor=2, mode="nearest") if resample else h

        h = self.conv(f"{name}.in_layers.2", change(F.silu(self.group_norm(f"{name}.in_layers.0", x))), n_out)
        scaled = self.f["use_scale_shift_norm"]
        e = self.linear(f"{name}.emb_layers.1", emb, 2 * n_out if scaled else n_out)[:, :, None, None]
        if scaled:
            scale, shift = e.chunk(2, dim=1)
            h = self.group_norm(f"{name}.out_layers.0", h, 32 if self.fused else None) * (1 + scale) + shift
        else:
            h = self.group_norm(f"{name}.out_layers.0", h + e)
        h = self.conv(f"{name}.out_layers.3", F.silu(h), n_out)
        x = change(x)
        return h + (x if x.shape[1] == n_out else self.conv(f"{name}.skip_connection", x, n_out, k=1))

    def self_attention(
        self,
        name: str,
        x: Tensor,
        heads: int,
        caption: Tensor | None = None,
        keep: Tensor | None = None,
        rotary: int = 0,
    ) -> Tensor:
        c, places = x.shape[1], x.shape[2] * x.shape[3]
        h = self.group_norm(f"{name}.norm", x).flatten(2)
        qkv = F.conv1d(h, self.w(f"{name}.qkv.weight", 3 * c, c, 1), self.w(f"{name}.qkv.bias", 3 * c))
        q, k, v = qkv.reshape(heads, -1, places).chunk(3, dim=1)
        if rotary:
            q, k = (self.turn_2d(s, rotary) for s in (q, k))
        mask = torch.zeros(places)
        if caption is not None and keep is not None:
            weight = self.w(f"{name}.encoder_kv.weight", 2 * c, caption.shape[-1], 1)
            kv = F.conv1d(caption.transpose(1, 2), weight, self.w(f"{name}.encoder_kv.bias", 2 * c))
            ek, ev = kv.reshape(heads, -1, kv.shape[-1]).chunk(2, dim=1)
            k, v = torch.cat([ek, k], dim=-1), torch.cat([ev, v], dim=-1)
            mask = torch.cat([-10000.0 * (~keep[0]).float(), mask])
        s = (c // heads) ** -0.25
        weights = (torch.einsum("hct,hcs->hts", q * s, k * s) + mask).softmax(-1)
        a = torch.einsum("hts,hcs->hct", weights, v).reshape(1, c, places)
        a = F.conv1d(a, self.w(f"{name}.proj_out.weight", c, c, 1), self.w(f"{name}.proj_out.bias", c))
        return x + a.view(x.shape)

    @staticmethod
    def turn_2d(x: Tensor, res: int) -> Tensor:
        """x (heads, c, res * res), turned pair by pair: rows turn the first channels, columns the next."""
        dim = x.shape[1] // 2
        out = x.clone().view(len(x), x.shape[1], res, res)
        grid = torch.linspace(-1, 1, res)
        frequencies = torch.linspace(1.0, res / 2, dim // 2) * math.pi
        for axis in range(2):
            for i, frequency in enumerate(frequencies):
                angle = grid * frequency
                angle = angle[:, None] if axis == 0 else angle[None, :]
                first = axis * 2 * len(frequencies) + 2 * i
                a, b = x.view(out.shape)[:, first], x.view(out.shape)[:, first + 1]
                out[:, first] = a * angle.cos() - b * angle.sin()
                out[:, first + 1] = b * angle.cos() + a * angle.sin()
        return out.view(x.shape)

    def heads(self, c: int, up: bool) -> int:
        f = self.f
        heads, per_head = f["num_heads"], f["channels_per_head"]
        if up and f["num_heads_upsample"] != -1:
            heads = f["num_heads_upsample"]
        if up and f["channels_per_head_upsample"] != -1:
            per_head = f["channels_per_head_upsample"]
        return c // per_head if per_head > 0 else heads

    def mix(self, name: str, x: Tensor, heads: int) -> Tensor:
        """Self-attention, or what `no_attn` puts in its place."""
        if not self.f["no_attn"]:
            return self.self_attention(
                name, x, heads, *(self.capt if self.f["glide_style_capt_attn"] else ())
            )
        return self.res_block(name, x, x.shape[1], self.emb) if self.f["no_attn_substitute_resblock"] else x

    def entry(self, name: str, h: Tensor, c: int, ds: int, up: bool, last: bool) -> tuple[Tensor, int]:
        """Residual block, self-attention, text and caption layers; also how many modules that was."""
        f = self.f
        h = self.res_block(f"{name}.0", h, c, self.emb)
        kinds = ["attention"] if ds in self.attention_ds else []
        texts = []
        if f["txt"] and ds in self.text_ds and (up or not f["txt_output_layers_only"]):
            texts = ["text"]
            if up and f["using_capt"] and f["xattn_capt"] and not f["glide_style_capt_attn"]:
                texts.append("caption")
        kinds = texts + kinds if f["txt_attn_before_attn"] else kinds + texts
        final_res = ds == min(self.text_ds)
        where = f["post_txt_image_attn"]
        post = up and (
            where == "all"
            or (where == "final_res" and final_res)
            or (where == "final" and final_res and last)
        )
        for n, kind in enumerate(kinds, start=1):
            if kind == "attention":
                h = self.mix(f"{name}.{n}", h, self.heads(c, up))
            elif not f["no_attn"] and kind == "text":
                h = self.text_layer(f"{name}.{n}", h, *self.text, self.emb, False, post)
            elif not f["no_attn"] and self.capt:
                h = self.text_layer(f"{name}.{n}", h, *self.capt, self.emb, True, post)
        return h, 1 + len(kinds)

    def run(self, x: Tensor, t: Tensor, **given: Tensor) -> Tensor:
        """The output for one picture (1, C, H, W)."""
        f, c0 = self.f, self.f["num_channels"]
        emb = self.mlp("time_embed", t)
        if self.upsampler and f["noise_cond"]:
            emb = emb + self.mlp("time_embed_noise_cond", given["cond_timesteps"])
        if f["class_cond"]:
            emb = emb + self.w("label_emb.weight", 1000, self.embedding_width)[given["y"]]
        self.emb = F.silu(emb)
        self.text = self.capt = ()
        if f["txt"]:
            self.text = (self.encode_text(given["txt"], t), given["txt"] != 0)
        if f["using_capt"] and "capt" in given:
            self.capt = (self.encode_caption(given["capt"]), given["capt"] != 0)
        if self.upsampler:
            mode = f["up_interp_mode"]
            x = torch.cat([x, F.interpolate(given["low_res"], x.shape[2:], mode=mode)], dim=1)
        if f["monochrome_adapter"]:
            x = self.linear("mono_to_rgb.linear_mean", x.movedim(1, -1), 3).movedim(-1, 1)
        return self.u_net(x, c0)

    def u_net(self, x: Tensor, c0: int) -> Tensor:
        f, ds = self.f, 1
        h = self.conv("input_blocks.0.0", x, c0)
        skips, i = [h], 1
        for level, mult in enumerate(self.mults):
            for _ in range(f["num_res_blocks"]):
                h, _ = self.entry(f"input_blocks.{i}", h, int(mult * c0), ds, up=False, last=False)
                skips.append(h)
                i += 1
            if level != len(self.mults) - 1:
                if f["resblock_updown"]:
                    h = self.res_block(f"input_blocks.{i}.0", h, h.shape[1], self.emb, "down")
                else:
                    h = self.conv(f"input_blocks.{i}.0.op", h, h.shape[1], stride=2)
                skips.append(h)
                i, ds = i + 1, 2 * ds
        h = self.res_block("middle_block.0", h, h.shape[1], self.emb)
        h = self.mix("middle_block.1", h, f["num_heads"])
        h = self.res_block("middle_block.2", h, h.shape[1], self.emb)
        return self.way_up(h, skips, c0, ds)

    def way_up(self, h: Tensor, skips: list[Tensor], c0: int, ds: int) -> Tensor:
        f, i = self.f, 0
        for level, mult in reversed(list(enumerate(self.mults))):
            for j in range(f["num_res_blocks"] + 1):
                last = j == f["num_res_blocks"]
                h = torch.cat([h, skips.pop()], dim=1)
                h, n = self.entry(f"output_blocks.{i}", h, int(mult * c0), ds, up=True, last=last)
                if level and last:
                    name = f"output_blocks.{i}.{n}"
                    if f["resblock_updown"]:
                        h = self.res_block(name, h, h.shape[1], self.emb, "up")
                    else:
                        doubled = F.interpolate(h, scale_factor=2, mode="nearest")
                        h = self.conv(f"{name}.conv", doubled, h.shape[1])
                    ds //= 2
                i += 1
        n_out = (1 if f["monochrome"] and not f["monochrome_adapter"] else 3) * (2 if f["learn_sigma"] else 1)
        h = self.conv("out.2", F.silu(self.group_norm("out.0", h)), n_out)
        if not f["monochrome_adapter"]:
            return h
        parts = [self.linear("rgb_to_mono.linear_mean", h[:, :3].movedim(1, -1), 1)]
        if f["learn_sigma"]:
            parts.append(self.linear("rgb_to_mono.linear_var", h[:, 3:].movedim(1, -1), 1))
        return torch.cat(parts, dim=-1).movedim(-1, 1)
