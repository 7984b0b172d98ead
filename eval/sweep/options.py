"""What to sweep over: lists of values per axis, from flags or from a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError, field_validator

from datatools.errors import InputError, suggest
from txtdiff.settings import Settings

__all__ = ["SweepOptions", "make_sweep", "read_sweep"]


def read_sweep(path: Path) -> dict[str, Any]:
    """The axes that a TOML file names, to be completed by flags.

    Raises:
        InputError: no such file, no TOML, or an axis that does not exist.
    """
    try:
        axes = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"the sweep {path} cannot be read: {error}") from error
    for name in axes:
        if name not in SweepOptions.model_fields:
            known = list(SweepOptions.model_fields)
            raise InputError(f"{path}: no axis '{name}'", suggest(name, known) or f"Axes: {', '.join(known)}")
    return axes


def make_sweep(axes: Mapping[str, Any]) -> SweepOptions:
    """A sweep from its axes.

    Raises:
        InputError: a value that does not fit its axis.
    """
    try:
        return SweepOptions.model_validate(axes)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InputError(f"the sweep cannot be used: {faults}") from error


class SweepOptions(Settings):
    """Axes of a sweep over a cascade. Every combination of one value of each is a setting."""

    sampler: tuple[str, ...] = ("dpmpp_2m:30",)
    """Samplers with their number of steps, NAME:STEPS, or with a step list of the fork, NAME@LIST."""
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
    guidance_interval: tuple[tuple[float, float] | None, ...] = (None,)
    """Parts of the process that are guided, 0 = clean end to 1 = noise; unset = all of it."""
    autoguidance: tuple[float, ...] = (1.0,)
    """Guidance away from a weaker network, which the job names; 1 = none."""
    clamp: tuple[bool, ...] = (True,)
    """Whether every predicted picture is kept within -1…1."""
    noise_level: tuple[int | None, ...] = (None,)
    """Noise levels of the upsamplers' small picture."""
    upsampler_sampler: tuple[str | None, ...] = (None,)
    """Samplers of every upsampler, as `sampler`; unset = the base's."""
    upsampler_guidance: tuple[float, ...] = (1.0,)
    """Guidance scales of every upsampler."""
    upsampler_eta: tuple[float, ...] = (0.0,)
    """Ancestral noise of every upsampler, for ddim and prk."""
    upsampler_dynamic_threshold: tuple[float | None, ...] = (None,)
    """Quantiles of dynamic thresholding in every upsampler; unset = clamp."""
    upsampler_consistency: tuple[float, ...] = (0.0,)
    """How far every upsampler is held to its small picture, 0 to 1."""

    @field_validator("upsampler_sampler", "upsampler_guidance", mode="before")
    @classmethod
    def _one_is_a_list_of_one(cls, value: Any) -> Any:
        """These were single values once; files that say so stay valid."""
        return value if isinstance(value, list | tuple) else (value,)

    def axes(self) -> dict[str, Sequence[Any]]:
        """Values by axis, in the order in which settings are made."""
        return {name: getattr(self, name) for name in type(self).model_fields}

    def of_upsamplers(self) -> list[str]:
        """Axes of upsamplers that were given anything but their defaults."""
        return [
            name
            for name, field in type(self).model_fields.items()
            if name.startswith(("upsampler_", "noise_level")) and getattr(self, name) != field.default
        ]
