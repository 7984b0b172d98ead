"""How one stage is sampled: the solver and its steps, guidance, and the range of pixels."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor

from datatools.errors import InputError, suggest
from txtdiff.diffusion.denoiser import Denoiser
from txtdiff.diffusion.noise import NoiseSource
from txtdiff.diffusion.samplers import (
    PseudoOptions,
    sample_ddim,
    sample_ddpm,
    sample_dpmpp_2m,
    sample_heun,
    sample_plms,
    sample_prk,
    sample_unipc,
)
from txtdiff.diffusion.schedule import Schedule
from txtdiff.diffusion.steps import fork_double_steps, parse_spacing, respaced, trailing_steps
from txtdiff.diffusion.thresholding import clamp_x0
from txtdiff.settings import Settings

__all__ = ["SamplerName", "SamplerSettings", "parse_sampler", "run_sampler"]

SamplerName = Literal["ddpm", "ddim", "prk", "plms", "heun", "dpmpp_2m", "unipc"]


def _spacing(value: object) -> object:
    """A command line reads 50 as a number and 10,20,30 as a list."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value) if isinstance(value, int) else value


class SamplerSettings(Settings):
    """How one stage of a cascade is sampled."""

    sampler: SamplerName = "dpmpp_2m"
    """ddpm: ancestral. ddim. prk, plms: pseudo Runge-Kutta and linear multistep. heun: two evaluations per
    step. dpmpp_2m: DPM-Solver++. unipc."""
    n_steps: int = Field(30, ge=1)
    """Steps, from the noisiest timestep down in equal strides."""
    fork_spacing: Annotated[str | None, BeforeValidator(_spacing)] = None
    """The parent project's step lists in place of n_steps, to its numbers: 50, 10,20,30 or ddim50."""
    eta: float = Field(0.0, ge=0, le=1)
    """Ancestral noise of ddim and prk: 0 = none, 1 = as much as ddpm."""
    guidance_txt: float = 1.0
    """Guidance scale of the transcription; 1 = none. Equal to guidance_capt it costs two evaluations per
    step, else three."""
    guidance_capt: float = 1.0
    """Guidance scale of the caption; 1 = none."""
    guidance_interval: tuple[float, float] | None = None
    """Part of the process that is guided, 0 = clean end to 1 = noise; elsewhere a step costs one call."""
    guidance_rescale: float = Field(0.0, ge=0, le=1)
    """How far the contrast of a guided prediction is brought back to that of the plain one."""
    autoguidance: float = 1.0
    """Guidance away from a second, weaker network; 1 = none."""
    clamp: bool = True
    """Keep every predicted picture within -1…1."""
    dynamic_threshold: float | None = Field(None, gt=0, le=1)
    """Divide every predicted picture by this quantile of its |pixels| where that exceeds 1; unset = clamp."""
    noise_level: int = Field(0, ge=0)
    """Upsamplers trained with noise on their small picture: the level added to it. 0 = none."""
    low_res_consistency: float = Field(0.0, ge=0, le=1)
    """Upsamplers: how far every predicted picture is corrected so that, made small again, it is the small
    picture. 0 = not at all, 1 = nearly: letters stay what they were, and so does grain."""

    @model_validator(mode="after")
    def _no_setting_without_effect(self) -> Self:
        if self.eta and self.sampler not in ("ddim", "prk"):
            raise ValueError(f"eta does nothing for {self.sampler}, only for ddim and prk")
        if self.fork_spacing is not None and "n_steps" in self.model_fields_set:
            raise ValueError("fork_spacing takes the place of n_steps: give one of them")
        if self.fork_spacing is not None and self.sampler not in ("ddpm", "ddim", "prk", "plms"):
            raise ValueError(f"fork_spacing: the parent project has no sampler {self.sampler}")
        if not self.clamp and self.dynamic_threshold is not None:
            raise ValueError("dynamic_threshold takes the place of clamp: leave clamp on")
        return self

    @model_validator(mode="after")
    def _guidance_has_effect(self) -> Self:
        low, high = self.guidance_interval or (0.0, 1.0)
        if not 0 <= low < high <= 1:
            raise ValueError(f"guidance_interval {low}, {high}: give two rising numbers between 0 and 1")
        if not self.is_guided and (self.guidance_interval is not None or self.guidance_rescale):
            raise ValueError("guidance_interval and guidance_rescale do nothing while both guidances are 1")
        return self

    @property
    def is_guided(self) -> bool:
        """Whether classifier-free guidance plays a part."""
        return self.guidance_txt != 1 or self.guidance_capt != 1


def parse_sampler(text: str) -> dict[str, Any]:
    """A sampler and its steps, as fields of `SamplerSettings`.

    "plms:20" -> sampler plms, n_steps 20; "ddim@ddim50" -> sampler ddim, fork_spacing ddim50.

    Raises:
        InputError: no such sampler, or no number of steps.
    """
    name = re.split("[:@]", text, maxsplit=1)[0]
    mark, steps = text[len(name) : len(name) + 1], text[len(name) + 1 :]
    known: tuple[SamplerName, ...] = get_args(SamplerName)
    if name not in known:
        near = suggest(name, known) or f"There are {', '.join(known)}."
        raise InputError(f"sampler '{text}': there is no sampler '{name}'", near)
    if mark == "@" and steps:
        return {"sampler": name, "fork_spacing": steps}
    if mark == ":" and steps.isdecimal() and len(steps) <= 6 and int(steps) > 0:
        return {"sampler": name, "n_steps": int(steps)}
    raise InputError(
        f"sampler '{text}': the number of steps is missing",
        f"Write {name}:30, or {name}@ddim50 for a step list of the parent project.",
    )


def run_sampler(
    settings: SamplerSettings, denoiser: Denoiser, x: Tensor, schedule: Schedule, noise: NoiseSource
) -> Tensor:
    """Sample from noise to picture.

    Args:
        settings: which sampler, and its steps.
        denoiser: guided and thresholded already.
        x: (B, C, H, W) standard normal.
        schedule: of the training.
        noise: for the steps of samplers that use any.
    """
    match settings.sampler:
        case "ddpm":
            return sample_ddpm(denoiser, x, schedule, _steps(settings, schedule), noise)
        case "ddim":
            return sample_ddim(denoiser, x, schedule, _steps(settings, schedule), noise, settings.eta)
        case "heun":
            return sample_heun(denoiser, x, schedule, _steps(settings, schedule))
        case "dpmpp_2m":
            return sample_dpmpp_2m(denoiser, x, schedule, _steps(settings, schedule))
        case "unipc":
            return sample_unipc(denoiser, x, schedule, _steps(settings, schedule))
        case "prk" | "plms":
            return _run_pseudo_numerical(settings, denoiser, x, schedule, noise)


def _steps(settings: SamplerSettings, schedule: Schedule) -> tuple[int, ...]:
    if settings.fork_spacing is not None:
        return respaced(schedule.n_steps, settings.fork_spacing)
    return trailing_steps(schedule.n_steps, settings.n_steps)


def _run_pseudo_numerical(
    settings: SamplerSettings, denoiser: Denoiser, x: Tensor, schedule: Schedule, noise: NoiseSource
) -> Tensor:
    limit = clamp_x0 if settings.clamp else None
    options = PseudoOptions(limit=limit)
    if settings.fork_spacing is None:
        steps = trailing_steps(schedule.n_steps, settings.n_steps)
    else:
        # As the fork sampled: pairs of steps, none to CLEAN, float32 tables, dynamic threshold without clamp.
        steps, midpoints = fork_double_steps(parse_spacing(schedule.n_steps, settings.fork_spacing))
        schedule = schedule.in_float32()
        limit = None if settings.dynamic_threshold is not None else limit
        options = PseudoOptions(midpoints=midpoints, limit=limit, min_signal=0)
    if settings.sampler == "plms":
        return sample_plms(denoiser, x, schedule, steps, options)
    return sample_prk(denoiser, x, schedule, steps, options, eta=settings.eta, noise=noise)
