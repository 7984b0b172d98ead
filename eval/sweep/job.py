"""What a sweep is to do: which cascades, which suite, which settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from eval.sweep.options import SweepOptions
from txtdiff.which_weights import Weights

__all__ = ["DiffusersOptions", "Spread", "SweepJob"]


@dataclass(frozen=True, kw_only=True)
class DiffusersOptions:
    """Axes of a sweep over a diffusers pipeline; None leaves the pipeline its own default."""

    steps: Sequence[int | None] = (None,)
    guidance: Sequence[float | None] = (None,)
    size_px: int | None = None


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Over what a sweep is spread."""

    workers: int | None = None
    """Processes; None: this one alone, or one for each device."""
    devices: Sequence[str] = ()
    """torch devices, shared out among the workers in turn."""
    runner: Literal["local", "ray"] = "local"
    ray_address: str | None = None

    @property
    def is_one(self) -> bool:
        """Whether this process makes all pictures itself."""
        return self.workers is None and len(self.devices) <= 1 and self.runner == "local"


@dataclass(frozen=True, kw_only=True)
class SweepJob:
    """A sweep over one or more cascades that share their upsamplers, or over a diffusers pipeline."""

    bases: Sequence[Path] = ()
    diffusers: str | None = None
    """Name or folder of a pipeline, in place of `bases`."""
    pipeline: DiffusersOptions = field(default_factory=DiffusersOptions)
    spread: Spread = field(default_factory=Spread)
    upsamplers: Sequence[Path] = ()
    weaker: Path | None = None
    """Checkpoint of the network that `sweep.autoguidance` leads the bases away from."""
    weights: Sequence[Weights] = ("averaged",)
    over: Literal["checkpoints"] | None = None
    """checkpoints: every checkpoint of each base, for text accuracy as a function of images trained on."""
    suite: str = "smoke"
    limit: int | None = None
    batch_size: int = 16
    reference: Path | None = None
    sweep: SweepOptions = field(default_factory=SweepOptions)
