"""What a sweep is to do: which cascades, which suite, which settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from eval.sweep_options import SweepOptions

__all__ = ["SweepJob", "Weights"]

Weights = Literal["averaged", "raw"] | float
"""As `txtdiff.training.weights.Weights`, which brings torch with it."""


@dataclass(frozen=True, kw_only=True)
class SweepJob:
    """A sweep over one or more cascades that share their upsamplers."""

    bases: Sequence[Path]
    upsamplers: Sequence[Path] = ()
    weights: Sequence[Weights] = ("averaged",)
    over: Literal["checkpoints"] | None = None
    """checkpoints: every checkpoint of each base, for text accuracy as a function of images trained on."""
    suite: str = "smoke"
    limit: int | None = None
    batch_size: int = 16
    reference: Path | None = None
    sweep: SweepOptions = field(default_factory=SweepOptions)
