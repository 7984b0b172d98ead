"""Attention: the one call of PyTorch's kernel, and self-attention among the places of a feature map."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from txtdiff.model.context import Context, KeysValues, with_rows
from txtdiff.model.embeddings import rotary_angles_2d, rotate_interleaved

__all__ = [
    "CaptionReader",
    "SelfAttention",
    "attend",
    "from_tokens",
    "group_norm",
    "key_bias",
    "modulated_group_norm",
    "split_heads",
    "to_tokens",
]


def group_norm(channels: int, groups: int | None = None) -> nn.GroupNorm:
    """Group norm of 32 groups, 24 for multiples of 72 (the parent project's rule), fewer for odd widths."""
    if groups is None:
        groups = 24 if channels % 72 == 0 else 32
    # Widths that 32 does not divide could not be built there: our own extension.
    return nn.GroupNorm(math.gcd(groups, channels), channels)


def modulated_group_norm(norm: nn.GroupNorm, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """norm(x) * (1 + scale) + shift of x (B, C, H, W), with scale and shift (B, C).

    One kernel rather than two forward and five backward: to it, every channel of every picture is a channel
    of its own, with a weight and a bias of its own.
    """
    weight = norm.weight * (1 + scale)
    bias = torch.addcmul(shift, norm.bias, 1 + scale)
    folded = x.reshape(1, -1, *x.shape[2:])
    h = F.group_norm(folded, len(x) * norm.num_groups, weight.flatten(), bias.flatten(), norm.eps)
    return h.view(x.shape)


def key_bias(keep: Tensor, masked: float = -10_000.0) -> Tensor:
    """Additive mask (B, 1, 1, L) float32 from keep (B, L): 0 where True, `masked` where False.

    Finite, so that a row without a single key to attend to gives a mean rather than NaN.
    """
    return torch.where(keep, 0.0, masked)[:, None, None, :]


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(c) + bias) v, heads joined again: (B, heads, L, c) each -> (B, L, heads * c).

    PyTorch's kernels take the softmax in float32 whatever the input.
    """
    # The lowest float32 would become -inf in half precision, and a row of those NaN.
    mask = None if bias is None else bias.clamp(min=torch.finfo(q.dtype).min).to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, L, C) -> (B, heads, L, C / heads)."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def to_tokens(x: Tensor) -> Tensor:
    """A feature map (B, C, H, W) as a row of places (B, H * W, C)."""
    return _Tokens.apply(x)  # type: ignore[no-any-return]


class _Tokens(torch.autograd.Function):
    """A transpose whose gradient is laid out as the map was.

    PyTorch's own is a transposed view, on which every operation before it is several times slower.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        nhwc = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        ctx.layout = torch.channels_last if nhwc else torch.contiguous_format
        return x.flatten(2).transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.transpose(1, 2).reshape(ctx.shape).contiguous(memory_format=ctx.layout)


def from_tokens(tokens: Tensor, like: Tensor) -> Tensor:
    """A row of places back to a feature map of the height and width of `like`."""
    return tokens.transpose(1, 2).reshape(len(like), -1, *like.shape[2:])


class CaptionReader(nn.Module, ABC):
    """A layer that only reads the caption: its keys and values are computed once per picture.

    `slot` is its place in `CaptionFeatures.keys_values`, given when the network is assembled.
    """

    slot: int | None = None

    @abstractmethod
    def caption_keys_values(self, tokens: Tensor) -> KeysValues:
        """Keys and values (B, heads, 77, c) from the tower's output (B, 77, W)."""


class SelfAttention(CaptionReader):
    """x + out(attention(norm(x))) among the places of a feature map, with the caption as further keys.

    Args:
        channels: width of the feature map.
        heads: number of heads.
        caption_width: width of the caption tower; None = no caption.
        rotary_px: side of the map for rotary positions on queries and keys; None = no positions.
    """

    def __init__(
        self, channels: int, heads: int, caption_width: int | None = None, rotary_px: int | None = None
    ) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"attention: {heads} heads cannot share {channels} channels evenly")
        self.heads = heads
        self.norm = group_norm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.caption_kv = None if caption_width is None else nn.Linear(caption_width, 2 * channels)
        angles = None if rotary_px is None else rotary_angles_2d(rotary_px, channels // heads)
        self.register_buffer("angles", angles, persistent=False)
        self.angles: Tensor | None
        if rotary_px is None:
            # The block starts as the identity (guided diffusion); one that follows a text layer does not.
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

    def caption_keys_values(self, tokens: Tensor) -> KeysValues:
        assert self.caption_kv is not None
        # Head-major, then keys and values inside each head, as the stored weights are laid out.
        kv = self.caption_kv(tokens).reshape(*tokens.shape[:2], self.heads, 2, -1)
        k, v = kv.permute(3, 0, 2, 1, 4).unbind()
        return k, v

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Feature map (B, C, H, W) -> same shape, or the context's rows if it reads the caption."""
        tokens = to_tokens(self.norm(x))
        qkv = self.qkv(tokens).reshape(*tokens.shape[:2], self.heads, 3, -1)
        if self.slot is not None and context.captions is not None:
            x, qkv = with_rows(x, context.n_rows), with_rows(qkv, context.n_rows)
        q, k, v = qkv.permute(3, 0, 2, 1, 4).unbind()
        if self.angles is not None:
            q, k = (rotate_interleaved(t, self.angles) for t in (q, k))
        bias = None
        if self.slot is not None and context.captions is not None:
            caption_k, caption_v = context.captions.keys_values[self.slot]
            k, v = torch.cat([caption_k, k], dim=2), torch.cat([caption_v, v], dim=2)
            bias = F.pad(context.captions.bias, (0, x.shape[2] * x.shape[3]))
        return x + from_tokens(self.out(attend(q, k, v, bias)), like=x)
