"""Picture and text attending to each other: cross-attention, and weave attention, which goes both ways."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datatools.errors import InputError
from txtdiff.model.attention import (
    CaptionReader,
    SelfAttention,
    attend,
    from_tokens,
    group_norm,
    modulated_group_norm,
    split_heads,
    to_tokens,
)
from txtdiff.model.config import TextAttentionConfig, WeaveConfig
from txtdiff.model.context import Context, KeysValues, with_rows
from txtdiff.model.feed_forward import FeedForward, Gain

__all__ = ["ImageToText", "ModulatedNorm", "TextLayer", "TextToImage"]


class ModulatedNorm(nn.Module):
    """Group norm of a feature map, scaled and shifted by the embedding and by a learned map of places.

    norm(x) * (1 + scale) + shift; "groups_32_silu" applies SiLU to that (see `TextAttentionConfig`).
    """

    def __init__(
        self,
        channels: int,
        embedding: int,
        kind: Literal["one_group", "groups_32", "groups_32_silu"],
        normalise: bool = True,
    ) -> None:
        super().__init__()
        groups = 1 if kind == "one_group" else 32
        self.norm = group_norm(channels, groups) if normalise else nn.Identity()
        self.modulation = nn.Linear(embedding, 2 * channels)
        self.silu = kind == "groups_32_silu"

    def forward(self, x: Tensor, embedding: Tensor, positions: Tensor) -> Tensor:
        """x (B, C, H, W), embedding (B, E), positions (1, 2C, H, W) -> (B, C, H, W)."""
        scale, shift = self.modulation(embedding).chunk(2, dim=1)
        place_scale, place_shift = positions.chunk(2, dim=1)
        if isinstance(self.norm, nn.GroupNorm):
            h = modulated_group_norm(self.norm, x, scale, shift)
        else:
            h = torch.addcmul(shift[:, :, None, None], x, 1 + scale[:, :, None, None])
        h = torch.addcmul(h + place_shift, self.norm(x), place_scale)
        return F.silu(h) if self.silu else h


class Projections(nn.Module):
    """Queries, keys, values and output of one attention, without biases."""

    def __init__(
        self, query_width: int, source_width: int, qkv_width: int, heads: int, orthogonal: bool
    ) -> None:
        super().__init__()
        if qkv_width % heads:
            # The settings know it of all but a caption tower whose width only open_clip knows.
            raise InputError(f"text.attention: {heads} heads cannot share {qkv_width} channels evenly")
        self.heads = heads
        self.q = nn.Linear(query_width, qkv_width, bias=False)
        self.k = nn.Linear(source_width, qkv_width, bias=False)
        self.v = nn.Linear(source_width, qkv_width, bias=False)
        self.out = nn.Linear(qkv_width, query_width, bias=False)
        if orthogonal:
            for layer in (self.q, self.k, self.v, self.out):
                nn.init.orthogonal_(layer.weight)

    def keys_values(self, source: Tensor) -> KeysValues:
        """(B, S, source width) -> keys and values (B, heads, S, c)."""
        return split_heads(self.k(source), self.heads), split_heads(self.v(source), self.heads)

    def forward(self, query: Tensor, keys_values: KeysValues, bias: Tensor | None = None) -> Tensor:
        """(B, Q, query width) -> (B, Q, query width)."""
        k, v = keys_values
        return self.out(attend(split_heads(self.q(query), self.heads), k, v, bias))  # type: ignore[no-any-return]


class TextToImage(CaptionReader):
    """The picture reads the text: x + gain * attention(queries from x, keys and values from the text)."""

    def __init__(
        self, channels: int, source_width: int, embedding: int, config: TextAttentionConfig, prenorm: bool
    ) -> None:
        super().__init__()
        self.image_norm = _image_norm(channels, embedding, config, prenorm)
        self.norm_kind = config.image_norm
        self.text_norm = nn.LayerNorm(source_width) if prenorm else nn.Identity()
        self.attention = Projections(
            channels, source_width, source_width, config.heads, config.orthogonal_init
        )
        self.gain = Gain(config.gain, channels, config.gain_scale, config.initial_gain)

    def caption_keys_values(self, tokens: Tensor) -> KeysValues:
        return self.attention.keys_values(self.text_norm(tokens))

    def forward(
        self, x: Tensor, context: Context, positions: Tensor, keys_values: KeysValues, bias: Tensor | None
    ) -> Tensor:
        """x (B, C, H, W) and what it reads -> (B, C, H, W)."""
        read = self.attention(self._queries(x, context.embedding, positions), keys_values, bias)
        return x + from_tokens(self.gain(read), like=x)

    def _queries(self, x: Tensor, embedding: Tensor, positions: Tensor) -> Tensor:
        if self.norm_kind == "modulated":
            return to_tokens(self.image_norm(x, embedding, positions))
        if self.norm_kind == "layer_norm":
            return self.image_norm(to_tokens(x + positions))  # type: ignore[no-any-return]
        # Positions come after a group norm, which would average them away.
        return to_tokens(self.image_norm(x) + positions)


def _image_norm(channels: int, embedding: int, config: TextAttentionConfig, prenorm: bool) -> nn.Module:
    if config.image_norm == "modulated":
        return ModulatedNorm(channels, embedding, config.modulated_norm, normalise=prenorm)
    if not prenorm:
        return nn.Identity()
    return nn.LayerNorm(channels) if config.image_norm == "layer_norm" else group_norm(channels)


class ImageToText(nn.Module):
    """The text reads the picture, and a perceptron digests it; the first half of weave attention."""

    def __init__(
        self, channels: int, text_width: int, embedding: int, config: TextAttentionConfig, weave: WeaveConfig,
        text_norm: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        qkv_width = text_width if weave.qkv_width == "text" else channels
        self.image_norm = ModulatedNorm(channels, embedding, config.modulated_norm)
        self.text_norm = nn.LayerNorm(text_width) if text_norm else nn.Identity()
        self.attention = Projections(text_width, channels, qkv_width, config.heads, config.orthogonal_init)
        self.gain = Gain(config.gain, text_width, config.gain_scale, config.initial_gain)
        self.feed_forward = self._feed_forward(text_width, config, weave)

    @staticmethod
    def _feed_forward(width: int, config: TextAttentionConfig, weave: WeaveConfig) -> nn.Sequential | None:
        if weave.feed_forward is None:
            return None
        parts: dict[str, nn.Module] = {"mlp": FeedForward(width, weave.feed_forward)}
        if weave.feed_forward_norm:
            parts = {"norm": nn.LayerNorm(width), **parts}
        if weave.feed_forward_rezero:
            parts["rezero"] = Gain("rezero", width)
        if weave.feed_forward_gain:
            parts["gain"] = Gain(config.gain, width, config.gain_scale, config.initial_gain)
        branch = nn.Sequential()
        for name, part in parts.items():
            branch.add_module(name, part)
        return branch

    def forward(self, text: Tensor, x: Tensor, context: Context, positions: Tensor) -> Tensor:
        """text (B, L, D), x (B, C, H, W) -> text (B, L, D). Every place is visible, so there is no mask."""
        image = to_tokens(self.image_norm(x, context.embedding, positions))
        text = text + self.gain(self.attention(self.text_norm(text), self.attention.keys_values(image)))
        return text if self.feed_forward is None else text + self.feed_forward(text)


class TextLayer(nn.Module):
    """Attention of a feature map to the transcription or to the caption, plain or woven.

    The text as changed by the first half of weave attention is used by the second half and then forgotten:
    every layer starts from the encoder's output. (The parent project has a flag `weave_v2` to pass it on, and
    its attention then returns the changed text; but since captions came, the adapter around the attention
    returns the text that it was given, in every later version of its unet.py, so the flag changes nothing.)

    Args:
        channels, resolution_px: the feature map.
        source, source_width: what is read.
        embedding: width E of the embedding.
        config: settings of text attention.
        weave: settings of the image-to-text half; None = without it.
        self_attention: follow with self-attention among the picture's places.
    """

    def __init__(
        self,
        channels: int,
        resolution_px: int,
        source: Literal["text", "captions"],
        source_width: int,
        embedding: int,
        config: TextAttentionConfig,
        weave: WeaveConfig | None,
        self_attention: bool,
    ) -> None:
        super().__init__()
        self.resolution_px = resolution_px
        self.source = source
        is_text = source == "text"
        self.to_text = None
        if weave is not None:
            self.to_text = ImageToText(channels, source_width, embedding, config, weave, text_norm=is_text)
        # A caption tower's output counts as normalised already.
        self.to_image = TextToImage(
            channels, source_width, embedding, config, prenorm=is_text and config.prenorm
        )
        self.self_attention = (
            SelfAttention(channels, config.heads, rotary_px=resolution_px) if self_attention else None
        )

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Feature map (B, C, H, W) -> same shape, with the context's rows."""
        source = context.captions if self.source == "captions" else context
        if source is None:
            return x  # no caption given: nothing to read
        x = with_rows(x, context.n_rows)
        positions = context.positions[self.resolution_px]
        keys_values, bias = self._source(x, context, positions)
        x = self.to_image(x, context, positions, keys_values, bias)
        return x if self.self_attention is None else self.self_attention(x, context)

    def _source(self, x: Tensor, context: Context, positions: Tensor) -> tuple[KeysValues, Tensor | None]:
        if self.source == "captions":
            assert context.captions is not None
            if self.to_image.slot is not None:
                return context.captions.keys_values[self.to_image.slot], context.captions.bias
            tokens, bias = context.captions.tokens, context.captions.bias
        else:
            assert context.text is not None and context.text_bias is not None
            tokens, bias = context.text, context.text_bias
        if self.to_text is not None:
            tokens = self.to_text(tokens, x, context, positions)
        return self.to_image.caption_keys_values(tokens), bias
