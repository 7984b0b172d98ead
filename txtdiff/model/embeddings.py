"""Numbers and places as vectors: timesteps, and the rows and columns of a feature map."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["AxialPositions", "rotary_angles_2d", "rotate_interleaved", "sinusoid", "timestep_mlp"]


def sinusoid(t: Tensor, width: int) -> Tensor:
    """Embedding of timesteps, cosines before sines (Vaswani et al. 2017, section 3.5).

    Args:
        t: (B,) integer or fractional, not normalised.
        width: number of channels; an odd one ends in a zero.

    Returns:
        (B, width) float32.
    """
    half = width // 2
    # In the parent project's order of operations: at t = 1000 a rounding error of a frequency moves the angle
    # by a thousand times as much, and its weights know its angles.
    places = torch.arange(half, dtype=torch.float32, device=t.device)
    frequencies = torch.exp(-math.log(10_000) * places / half)
    angles = t[:, None].float() * frequencies
    embedding = torch.cat([angles.cos(), angles.sin()], dim=-1)
    return nn.functional.pad(embedding, (0, width % 2))


def timestep_mlp(width: int, embedding: int) -> nn.Sequential:
    """Linear, SiLU, Linear: (B, width) -> (B, embedding)."""
    return nn.Sequential(nn.Linear(width, embedding), nn.SiLU(), nn.Linear(embedding, embedding))


class AxialPositions(nn.Module):
    """A learned vector for each place of a square feature map: that of its row plus that of its column."""

    def __init__(self, resolution_px: int, width: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.randn(resolution_px, width))
        self.columns = nn.Parameter(torch.randn(resolution_px, width))

    def forward(self) -> Tensor:
        """Positions as a map (1, width, H, W)."""
        return (self.rows[:, None] + self.columns[None, :]).permute(2, 0, 1)[None]


def rotary_angles_2d(resolution_px: int, head_width: int) -> Tensor:
    """Rotary angles of the places of a square map: rows turn the first half of a head, columns the second.

    The "pixel" frequencies of the rotary-embedding library, pi * linspace(1, resolution / 2), for places in
    [-1, 1].

    Returns:
        (H * W, rotated channels) float32, two equal angles for each pair of channels.
    """
    per_axis = head_width // 2
    frequencies = torch.linspace(1.0, resolution_px / 2, per_axis // 2) * math.pi
    angles = torch.linspace(-1, 1, resolution_px)[:, None] * frequencies
    angles = angles.repeat_interleave(2, dim=-1)
    shape = (resolution_px, resolution_px, angles.shape[-1])
    grid = torch.cat([angles[:, None].expand(shape), angles[None, :].expand(shape)], dim=-1)
    return grid.flatten(0, 1)


def rotate_interleaved(x: Tensor, angles: Tensor) -> Tensor:
    """Turn pairs of neighbouring channels of x (..., L, C) by angles (L, R <= C); channels beyond R stay."""
    n_rotated = angles.shape[-1]
    turned, rest = x[..., :n_rotated], x[..., n_rotated:]
    first, second = turned[..., 0::2], turned[..., 1::2]
    quarter_turn = torch.stack([-second, first], dim=-1).flatten(-2)
    # Cosines of float32 angles, whatever x is: in bf16 an angle of 50 is off by an eighth.
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    return torch.cat([turned * cos + quarter_turn * sin, rest], dim=-1)
