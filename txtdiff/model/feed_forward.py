"""Small parts that text encoder and text attention share."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from txtdiff.model.config import FeedForwardConfig

__all__ = ["FeedForward", "Gain"]

LAYER_SCALE_START = 1e-5


class FeedForward(nn.Module):
    """Two linear layers with exact GELU between, gated or not: (..., width) -> (..., width)."""

    def __init__(self, width: int, config: FeedForwardConfig) -> None:
        super().__init__()
        hidden = width * config.mult
        self.gated = config.glu
        self.inner = nn.Linear(width, 2 * hidden if config.glu else hidden)
        self.outer = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.inner(x)
        if self.gated:
            value, gate = hidden.chunk(2, dim=-1)
            return self.outer(value * F.gelu(gate))  # type: ignore[no-any-return]
        return self.outer(F.gelu(hidden))  # type: ignore[no-any-return]


class Gain(nn.Module):
    """A learned factor. The stored number is multiplied by `scale`, which speeds its learning up.

    Args:
        kind: "exponential": exp(scale * g), one number, always positive; "rezero": scale * g, one number
            from 0 (Bachlechner et al. 2020); "layer_scale": scale * g, one number per channel from 1e-5
            (Touvron et al. 2021).
        width: channels, for "layer_scale".
        scale: multiplies the stored number.
        initial: the factor at the start, for "exponential".
    """

    def __init__(
        self,
        kind: Literal["exponential", "rezero", "layer_scale"],
        width: int,
        scale: float = 1.0,
        initial: float = 1.0,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.exponential = kind == "exponential"
        start = {
            "exponential": torch.tensor(math.log(initial) / scale if kind == "exponential" else 0.0),
            "rezero": torch.zeros(1),
            "layer_scale": torch.full((width,), LAYER_SCALE_START),
        }[kind]
        self.gain = nn.Parameter(start)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., width) times the factor."""
        factor = self.gain * self.scale
        return x * (factor.exp() if self.exponential else factor)
