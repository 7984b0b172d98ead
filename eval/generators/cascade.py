"""A txtdiff cascade as a generator, and the settings of a sweep over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from datatools.errors import InputError
from eval.generators.generator import Made
from eval.machine.provenance import name_device
from eval.suites import Cell, Suite
from eval.sweep import Setting, grid, make_setting
from eval.sweep.options import SweepOptions
from txtdiff.cascade import Cascade, Prompt, SamplerSettings, parse_sampler, sample_pictures
from txtdiff.config_files import validated
from txtdiff.diffusion.steps import parse_spacing
from txtdiff.model.config import ModelConfig

__all__ = ["CascadeGenerator", "cascade_settings", "stage_settings"]

_ALWAYS_SHOWN = ("sampler", "n_steps", "guidance_txt", "guidance_capt")
_OPTIONAL = ("dynamic_threshold", "guidance_rescale", "guidance_interval", "autoguidance", "clamp")


class CascadeGenerator:
    """Samples pictures from a cascade, base first."""

    def __init__(self, cascade: Cascade, batch_size: int) -> None:
        self._cascade = cascade
        self._device = name_device(cascade.stages[0].model.device)
        self.batch_size = batch_size
        self._is_warm = False

    def make(self, setting: Setting, cells: Sequence[Cell]) -> list[Made]:
        """Pictures of one setting, in the order of the cells."""
        stages = [stage_settings(spec) for spec in (setting.spec, *setting.spec["upsamplers"])]
        prompts = [Prompt(txt=cell.prompt.txt, capt=cell.prompt.capt, seed=cell.seed) for cell in cells]
        self._warm_up(prompts[:1], stages)
        waiting = iter(cells)
        return [
            Made(
                next(waiting),
                picture,
                seconds=batch.seconds / len(batch.pictures),
                n_evaluations=batch.n_evaluations,
                device=self._device,
            )
            for batch in sample_pictures(self._cascade, prompts, stages, self.batch_size)
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
        InputError: a combination that the sampler refuses, or ancestral noise that no sampler has.
    """
    points = grid(sweep.axes())
    plans = [_stages(cascade, point) for point in points]
    _check_eta(sweep.eta, [stages[0] for stages in plans])
    if len(cascade.stages) > 1:
        _check_eta(sweep.upsampler_eta, [stages[1] for stages in plans])
    many = {axis for axis, values in sweep.axes().items() if len(values) > 1}
    settings = [
        make_setting(
            _spec(cascade, suite, stages, about), " ".join(filter(None, [name, _label(point, stages, many)]))
        )
        for point, stages in zip(points, plans, strict=True)
    ]
    # An axis that a sampler does not have, as eta, would give the same setting several times.
    return list({setting.id: setting for setting in settings}.values())


def _check_eta(asked: Sequence[float], settings: Sequence[SamplerSettings]) -> None:
    if any(asked) and not any(one.eta for one in settings):
        samplers = ", ".join(dict.fromkeys(one.sampler for one in settings))
        raise InputError(f"eta does nothing for {samplers}", "Only ddim and prk have ancestral noise.")


def _stages(cascade: Cascade, point: Mapping[str, Any]) -> list[SamplerSettings]:
    """Settings of each stage at one point of the sweep."""
    base, *upsamplers = cascade.stages
    first = _checked(_base_point(point, base.config))
    return [first, *(_checked(_upsampler_point(point, stage.config)) for stage in upsamplers)]


def _spec(
    cascade: Cascade, suite: Suite, stages: Sequence[SamplerSettings], about: Mapping[str, Any]
) -> dict[str, Any]:
    about = {key: value for key, value in about.items() if key != "weaker" or stages[0].autoguidance != 1}
    base, *upsamplers = [
        {"checkpoint": stage.digest} | _dump(settings, stage.model.diffusion.n_steps)
        for stage, settings in zip(cascade.stages, stages, strict=True)
    ]
    return {"generator": "txtdiff", "suite": suite.id} | about | base | {"upsamplers": upsamplers}


def _base_point(point: Mapping[str, Any], network: ModelConfig) -> dict[str, Any]:
    settings = parse_sampler(point["sampler"]) | _guidance(point["guidance"], network)
    if point["guidance_capt"] is not None:
        settings["guidance_capt"] = point["guidance_capt"]
    settings |= {key: point[key] for key in _OPTIONAL if point[key] is not None}
    return settings | _eta(settings["sampler"], point["eta"])


def _upsampler_point(point: Mapping[str, Any], network: ModelConfig) -> dict[str, Any]:
    settings = parse_sampler(point["upsampler_sampler"] or point["sampler"])
    settings |= _guidance(point["upsampler_guidance"], network) | _eta(
        settings["sampler"], point["upsampler_eta"]
    )
    given = {
        "noise_level": point["noise_level"],
        "dynamic_threshold": point["upsampler_dynamic_threshold"],
        "low_res_consistency": point["upsampler_consistency"] or None,
    }
    return settings | {key: value for key, value in given.items() if value is not None}


def _eta(sampler: str, eta: float) -> dict[str, float]:
    """Ancestral noise, of samplers that have it."""
    return {"eta": eta} if eta and sampler in ("ddim", "prk") else {}


def _guidance(scale: float, network: ModelConfig) -> dict[str, float]:
    """One scale for all that the network is told, as the fork guides; what it is not told has none."""
    return {
        "guidance_txt": scale if network.text is not None else 1.0,
        "guidance_capt": scale if network.captions is not None else 1.0,
    }


def _checked(point: Mapping[str, Any]) -> SamplerSettings:
    try:
        return validated(SamplerSettings, point)
    except InputError as error:
        steps = f"@{point['fork_spacing']}" if "fork_spacing" in point else f":{point['n_steps']}"
        reasons = error.what.replace("\n", "; ")
        raise InputError(f"{point['sampler']}{steps}: {reasons}", error.remedy) from error


def _dump(settings: SamplerSettings, n_train_steps: int) -> dict[str, Any]:
    """What the settings say, defaults left out: a default added later must not rename old settings."""
    shown = {name: getattr(settings, name) for name in _ALWAYS_SHOWN}
    if settings.fork_spacing is not None:  # charts want to know how many steps that is
        shown["n_steps"] = len(parse_spacing(n_train_steps, settings.fork_spacing))
    return shown | settings.model_dump(mode="json", exclude_defaults=True)


def stage_settings(spec: Mapping[str, Any]) -> SamplerSettings:
    """The sampler settings that a stage's part of a spec holds."""
    known = {key: value for key, value in spec.items() if key in SamplerSettings.model_fields}
    if "fork_spacing" in known:
        del known["n_steps"]
    return SamplerSettings(**known)


def _label(point: Mapping[str, Any], stages: Sequence[SamplerSettings], many: AbstractSet[str]) -> str:
    """What tells the setting from the others; `many` are the axes with more than one value."""
    base, *upsamplers = stages
    guidance = f"s={base.guidance_txt:g}"
    if point["guidance_capt"] is not None:
        guidance += f"/{base.guidance_capt:g}"
    extras = {"eta": base.eta or None, "threshold": base.dynamic_threshold, "noise": point["noise_level"]}
    extras["rescale"] = base.guidance_rescale or None
    extras["auto"] = base.autoguidance if base.autoguidance != 1 else None
    words = [_sampler_label(base), guidance]
    words += [f"{key}={value:g}" for key, value in extras.items() if value is not None]
    if base.guidance_interval is not None:
        words.append("guided={:g}-{:g}".format(*base.guidance_interval))
    words += [] if base.clamp else ["unclamped"]
    return " ".join(words + (_upsampler_words(upsamplers[0], many) if upsamplers else []))


def _upsampler_words(upsampler: SamplerSettings, many: AbstractSet[str]) -> list[str]:
    """As the base's; sampler and guidance only where they are swept."""
    told = {
        "sampler": _sampler_label(upsampler) if "upsampler_sampler" in many else None,
        "s": f"{upsampler.guidance_txt:g}" if "upsampler_guidance" in many else None,
        "eta": f"{upsampler.eta:g}" if upsampler.eta else None,
        "threshold": None if upsampler.dynamic_threshold is None else f"{upsampler.dynamic_threshold:g}",
        "consistency": f"{upsampler.low_res_consistency:g}" if upsampler.low_res_consistency else None,
    }
    return [f"upsampler-{key}={value}" for key, value in told.items() if value is not None]


def _sampler_label(settings: SamplerSettings) -> str:
    spacing = settings.fork_spacing
    return f"{settings.sampler}:{settings.n_steps}" if spacing is None else f"{settings.sampler}@{spacing}"
