"""Our network computing as the parent project does: the same function, its way (fork_spec 4.4, 5.3, 8)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from txtdiff.model.attention import split_heads

__all__ = ["parents_layers", "plain_doubling"]


@contextmanager
def parents_layers() -> Iterator[None]:
    """While it lasts, attention, norms and convolutions are computed the parent project's way.

    All weights of attention are written down and masks tiled over heads and queries; text attention
    multiplies queries, keys and values by an identity matrix once more; norms are scaled and shifted apart.
    """
    substitutes = {
        "attention.attend": _self_attention,
        "text_attention.attend": _text_attention,
        "attention.modulated_group_norm": _modulated_group_norm,
        "blocks.modulated_group_norm": _modulated_group_norm,
        "text_attention.modulated_group_norm": _modulated_group_norm,
        "blocks.convolve": _convolve,
        "blocks.convolve_doubled": _convolve_doubled,
        "attention.to_tokens": _to_tokens,
        "text_attention.to_tokens": _to_tokens,
    }
    with ExitStack() as stack:
        for name, function in substitutes.items():
            stack.enter_context(mock.patch(f"txtdiff.model.{name}", function))
        yield


@contextmanager
def plain_doubling() -> Iterator[None]:
    """While it lasts, a doubled map is convolved as one, with all of its operations."""
    with mock.patch("txtdiff.model.blocks.convolve_doubled", _convolve_doubled):
        yield


def _self_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    scale = q.shape[-1] ** -0.25
    weights = torch.einsum("bhtc,bhsc->bhts", q * scale, k * scale)
    if bias is not None:
        weights = weights + bias.expand(weights.shape).contiguous()
    out = torch.einsum("bhts,bhsc->bhtc", weights.softmax(-1), v)
    return out.transpose(1, 2).flatten(2)


def _text_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    heads, width = q.shape[1], q.shape[1] * q.shape[3]
    identity = torch.eye(width, device=q.device)
    q, k, v = (split_heads(t.transpose(1, 2).flatten(2) @ identity, heads) for t in (q, k, v))
    return _self_attention(q, k, v, bias)


def _modulated_group_norm(norm: nn.GroupNorm, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return norm(x) * (1 + scale[:, :, None, None]) + shift[:, :, None, None]  # type: ignore[no-any-return]


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv2d(x, weight, bias, padding=1)


def _convolve_doubled(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return _convolve(F.interpolate(x, scale_factor=2.0, mode="nearest"), weight, bias)


def _to_tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)
