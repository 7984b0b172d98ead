"""The transcription's encoder: a small transformer over tokens that knows place, line and timestep."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from txtdiff.model.attention import attend, split_heads
from txtdiff.model.config import TextConfig
from txtdiff.model.embeddings import sinusoid
from txtdiff.model.feed_forward import FeedForward, Gain

__all__ = ["MAX_LINES", "TextEncoder", "relative_bucket"]

MAX_LINES = 32
"""Lines with an embedding of their own; all later ones share the last."""

HEAD_WIDTH = 64
N_BUCKETS, MAX_EXACT, MAX_DISTANCE = 32, 8, 128


class TextEncoder(nn.Module):
    """Token ids (B, L) and timesteps (B,) -> features (B, L, D) and the keep mask (B, L).

    Id 0 is padding and `<s>` at once, and both are masked as keys: the parent project trained it so.
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        width = config.width
        self.newline_id, self.max_length, self.scale = config.newline_id, config.max_length, width**-0.5
        self.token_embedding = nn.Embedding(config.vocab_size, width)
        nn.init.kaiming_normal_(self.token_embedding.weight)
        self.position_embedding = nn.Embedding(config.max_length, width)
        self.line_embedding = nn.Embedding(MAX_LINES, width)
        self.time_projection = nn.Linear(width, width)
        self.layers = nn.ModuleList(
            layer
            for _ in range(config.depth)
            for layer in (
                Residual(TextSelfAttention(width, rotary=config.rotary_positions), width, config),
                Residual(FeedForward(width, config.feed_forward), width, config),
            )
        )
        n_heads = _n_heads(width)
        self.relative_bias = nn.Embedding(N_BUCKETS, n_heads) if config.t5_positions else None

    def forward(self, tokens: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        length = tokens.shape[1]
        if length > self.max_length:
            raise ValueError(f"a text of {length} tokens, but the encoder has {self.max_length} positions")
        keep = tokens != 0
        lines = (tokens == self.newline_id).int().cumsum(dim=1).clamp(max=MAX_LINES - 1)
        places = self.position_embedding.weight[:length] + self.line_embedding(lines)
        time = self.time_projection(nn.functional.silu(sinusoid(timesteps, places.shape[-1])))
        x = self.token_embedding(tokens) + (places + time[:, None]) * self.scale
        bias = self._bias(keep)
        for layer in self.layers:
            x = layer(x, bias)
        return x, keep

    def _bias(self, keep: Tensor) -> Tensor:
        """Added to the attention logits: (B, heads or 1, L or 1, L)."""
        # The lowest finite number rather than -inf: a text of padding alone still has a defined output.
        mask = torch.where(keep, 0.0, torch.finfo(torch.float32).min)[:, None, None, :]
        if self.relative_bias is None:
            return mask
        length = keep.shape[1]
        place = torch.arange(length, device=keep.device)
        buckets = relative_bucket(place[:, None] - place[None, :])
        # The factor sqrt(64) undoes the scaling of logits: T5 has none.
        bias: Tensor = self.relative_bias(buckets).permute(2, 0, 1)[None]
        return bias * math.sqrt(HEAD_WIDTH) + mask


def relative_bucket(distance: Tensor) -> Tensor:
    """Bucket 0..31 of query position minus key position (T5, Raffel et al. 2020, section 2.1).

    Backward distances take 0..15, forward ones 16..31; the first eight are exact, later ones logarithmic
    up to 128.
    """
    half = N_BUCKETS // 2
    size = distance.abs()
    ratio = torch.log(size.clamp(min=1) / MAX_EXACT) / math.log(MAX_DISTANCE / MAX_EXACT)
    large = (MAX_EXACT + (ratio * (half - MAX_EXACT)).long()).clamp(max=half - 1)
    return torch.where(distance < 0, half, 0) + torch.where(size < MAX_EXACT, size, large)


class Residual(nn.Module):
    """x + block(norm(x)), or x + g * block(x) with g from zero."""

    def __init__(self, block: nn.Module, width: int, config: TextConfig) -> None:
        super().__init__()
        self.block = block
        self.norm = ScaleNorm(width) if config.norm == "scale_norm" else nn.Identity()
        self.gain = Gain("rezero", width) if config.norm == "rezero" else nn.Identity()

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        h = self.norm(x)
        h = self.block(h, bias) if isinstance(self.block, TextSelfAttention) else self.block(h)
        return x + self.gain(h)  # type: ignore[no-any-return]


class ScaleNorm(nn.Module):
    """x over its root mean square, times one learned number (Nguyen & Salazar 2019)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = width**-0.5
        self.g = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        normed: Tensor = x / (norm * self.scale).clamp(min=1e-5)
        return normed * self.g


class TextSelfAttention(nn.Module):
    """Self-attention among tokens with heads of 64 channels."""

    def __init__(self, width: int, rotary: bool) -> None:
        super().__init__()
        self.heads = _n_heads(width)
        inner = self.heads * HEAD_WIDTH
        self.q = nn.Linear(width, inner, bias=False)
        self.k = nn.Linear(width, inner, bias=False)
        self.v = nn.Linear(width, inner, bias=False)
        self.out = nn.Linear(inner, width)
        self.rotary = rotary

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = (split_heads(layer(x), self.heads) for layer in (self.q, self.k, self.v))
        if self.rotary:
            # Values are turned too: so the library behind the parent project did, and its weights expect it.
            q, k, v = (_rotate_halves(t) for t in (q, k, v))
        return self.out(attend(q, k, v, bias))  # type: ignore[no-any-return]


def _n_heads(width: int) -> int:
    return width // min(HEAD_WIDTH, width)


def _rotate_halves(x: Tensor) -> Tensor:
    """Rotary positions on the first half of the channels of x (..., L, 64), first against second quarter."""
    n_rotated = HEAD_WIDTH // 2
    frequencies = 1.0 / 10_000 ** (torch.arange(0, n_rotated, 2, device=x.device).float() / n_rotated)
    angles = torch.arange(x.shape[-2], device=x.device)[:, None] * frequencies
    cos, sin = (table.repeat(1, 2).to(x.dtype) for table in (angles.cos(), angles.sin()))
    turned, rest = x[..., :n_rotated], x[..., n_rotated:]
    first, second = turned.chunk(2, dim=-1)
    quarter_turn = torch.cat([-second, first], dim=-1)
    return torch.cat([turned * cos + quarter_turn * sin, rest], dim=-1)
