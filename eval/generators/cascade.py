"""A txtdiff cascade as a generator, and the settings of a sweep over it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from datatools.errors import InputError
from eval.generators.generator import Made
from eval.suites import Cell, Suite
from eval.sweep import Setting, grid, make_setting
from eval.sweep.options import SweepOptions
from txtdiff.cascade import Cascade, Prompt, SamplerSettings, parse_sampler, sample_pictures
from txtdiff.model.config import ModelConfig

__all__ = ["CascadeGenerator", "cascade_settings"]

_ALWAYS_SHOWN = ("sampler", "n_steps", "guidance_txt", "guidance_capt")
_OPTIONAL = ("dynamic_threshold", "guidance_rescale", "guidance_interval", "autoguidance", "clamp")


class CascadeGenerator:
    """Samples pictures from a cascade, base first."""

    def __init__(self, cascade: Cascade, batch_size: int) -> None:
        self._cascade = cascade
        self._batch_size = batch_size
        self._is_warm = False

    def make(self, setting: Setting, cells: Sequence[Cell]) -> Iterator[list[Made]]:
        """Batches of pictures of one setting, in the order of the cells."""
        stages = [_stage_settings(spec) for spec in (setting.spec, *setting.spec["upsamplers"])]
        prompts = [Prompt(txt=cell.prompt.txt, capt=cell.prompt.capt, seed=cell.seed) for cell in cells]
        self._warm_up(prompts[:1], stages)
        waiting = iter(cells)
        for batch in sample_pictures(self._cascade, prompts, stages, self._batch_size):
            seconds = batch.seconds / len(batch.pictures)
            yield [
                Made(next(waiting), picture, seconds=seconds, n_evaluations=batch.n_evaluations)
                for picture in batch.pictures
            ]

    def _warm_up(self, prompts: Sequence[Prompt], stages: Sequence[SamplerSettings]) -> None:
        """One step before the clock runs: the first pass pays for memory and kernels of all others."""
        if not self._is_warm:
            short = [stage.model_copy(update={"n_steps": 1}) for stage in stages]
            list(sample_pictures(self._cascade, prompts, short, 1))
            self._is_warm = True


def cascade_settings(
    cascade: Cascade, suite: Suite, sweep: SweepOptions, about: Mapping[str, Any], name: str = ""
) -> list[Setting]:
    """Every setting of a sweep over one cascade.

    Args:
        about: what else identifies the network, e.g. which averaged weights; goes into every spec, `weaker`
            only into those of settings that are guided away from it.
        name: put before the label when several checkpoints are compared.

    Raises:
        InputError: a combination that the sampler refuses.
    """
    settings = [_setting(cascade, suite, sweep, point, about, name) for point in grid(sweep.axes())]
    # An axis that a sampler does not have, as eta, would give the same setting several times.
    return list({setting.id: setting for setting in settings}.values())


def _setting(
    cascade: Cascade,
    suite: Suite,
    sweep: SweepOptions,
    point: Mapping[str, Any],
    about: Mapping[str, Any],
    name: str,
) -> Setting:
    base, *upsamplers = cascade.stages
    first = _checked(_base_point(point, base.config))
    about = {key: value for key, value in about.items() if key != "weaker" or first.autoguidance != 1}
    spec = {"generator": "txtdiff", "suite": suite.id, "checkpoint": base.digest} | about | _dump(first)
    spec["upsamplers"] = [
        {"checkpoint": stage.digest} | _dump(_checked(_upsampler_point(point, sweep, stage.config)))
        for stage in upsamplers
    ]
    return make_setting(spec, " ".join(filter(None, [name, _label(point, first)])))


def _base_point(point: Mapping[str, Any], network: ModelConfig) -> dict[str, Any]:
    sampler, n_steps = parse_sampler(point["sampler"])
    settings = {"sampler": sampler, "n_steps": n_steps} | _guidance(point["guidance"], network)
    if point["guidance_capt"] is not None:
        settings["guidance_capt"] = point["guidance_capt"]
    settings |= {key: point[key] for key in _OPTIONAL if point[key] is not None}
    if point["eta"] and sampler in ("ddim", "prk"):
        settings["eta"] = point["eta"]
    return settings


def _upsampler_point(point: Mapping[str, Any], sweep: SweepOptions, network: ModelConfig) -> dict[str, Any]:
    sampler, n_steps = parse_sampler(sweep.upsampler_sampler or point["sampler"])
    settings = {"sampler": sampler, "n_steps": n_steps} | _guidance(sweep.upsampler_guidance, network)
    return settings | ({"noise_level": point["noise_level"]} if point["noise_level"] is not None else {})


def _guidance(scale: float, network: ModelConfig) -> dict[str, float]:
    """One scale for all that the network is told, as the fork guides; what it is not told has none."""
    return {
        "guidance_txt": scale if network.text is not None else 1.0,
        "guidance_capt": scale if network.captions is not None else 1.0,
    }


def _checked(point: Mapping[str, Any]) -> SamplerSettings:
    try:
        return SamplerSettings(**point)
    except ValidationError as error:
        reasons = "; ".join(str(fault["msg"]) for fault in error.errors())
        raise InputError(f"{point['sampler']}:{point['n_steps']}: {reasons}") from error


def _dump(settings: SamplerSettings) -> dict[str, Any]:
    """What the settings say, defaults left out: a default added later must not rename old settings."""
    shown = {name: getattr(settings, name) for name in _ALWAYS_SHOWN}
    return shown | settings.model_dump(mode="json", exclude_defaults=True)


def _stage_settings(spec: Mapping[str, Any]) -> SamplerSettings:
    known = {key: value for key, value in spec.items() if key in SamplerSettings.model_fields}
    return SamplerSettings(**known)


def _label(point: Mapping[str, Any], base: SamplerSettings) -> str:
    guidance = f"s={base.guidance_txt:g}"
    if point["guidance_capt"] is not None:
        guidance += f"/{base.guidance_capt:g}"
    extras = {"eta": base.eta or None, "threshold": base.dynamic_threshold, "noise": point["noise_level"]}
    extras["rescale"] = base.guidance_rescale or None
    extras["auto"] = base.autoguidance if base.autoguidance != 1 else None
    words = [f"{base.sampler}:{base.n_steps}", guidance]
    words += [f"{key}={value:g}" for key, value in extras.items() if value is not None]
    if base.guidance_interval is not None:
        words.append("guided={:g}-{:g}".format(*base.guidance_interval))
    return " ".join(words if base.clamp else [*words, "unclamped"])
