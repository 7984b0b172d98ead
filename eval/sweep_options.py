"""What to sweep over: lists of values per axis, from flags or from a TOML file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from txtdiff.settings import Settings

__all__ = ["SweepOptions"]


class SweepOptions(Settings):
    """Axes of a sweep over a cascade. Every combination of one value of each is a setting."""

    sampler: tuple[str, ...] = ("dpmpp_2m:30",)
    """Samplers with their number of steps, NAME:STEPS."""
    guidance: tuple[float, ...] = (1.0,)
    """Guidance scales of the text; 1 = none."""
    guidance_capt: tuple[float | None, ...] = (None,)
    """Guidance scales of the caption; unset = as the text's."""
    eta: tuple[float, ...] = (0.0,)
    """Ancestral noise, for ddim and prk; other samplers have none."""
    dynamic_threshold: tuple[float | None, ...] = (None,)
    """Quantiles of dynamic thresholding; unset = clamp."""
    guidance_rescale: tuple[float | None, ...] = (None,)
    """How far the contrast of a guided prediction is brought back."""
    noise_level: tuple[int | None, ...] = (None,)
    """Noise levels of the upsamplers' small picture."""
    upsampler_sampler: str | None = None
    """NAME:STEPS of every upsampler; unset = the base's."""
    upsampler_guidance: float = 1.0
    """Guidance scale of every upsampler."""

    def axes(self) -> dict[str, Sequence[Any]]:
        """Values by axis, in the order in which settings are made."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in values.items() if isinstance(value, tuple)}
