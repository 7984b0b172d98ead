"""A sampling command line of the fork as a cascade of ours and what to sample from it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from datatools.console import say
from datatools.errors import InputError
from txtdiff.conditioning import Prompt, StageModel
from txtdiff.config_files import validated
from txtdiff.diffusion.config import DiffusionConfig
from txtdiff.fork.enlarging import pictures_to_enlarge
from txtdiff.fork.sampling import ForkSampling, fork_sampling, load_fork_model
from txtdiff.fork.training import diffusion_settings
from txtdiff.model.config import ModelConfig
from txtdiff.sampler_settings import SamplerSettings
from txtdiff.stages import Cascade, Stage

__all__ = ["ForkPlan", "fork_plan"]

ForkPlan = tuple[Cascade, list[Prompt], SamplerSettings, int]
"""A cascade of one stage, a prompt for each picture, how it is sampled, and pictures at a time."""


def fork_plan(argv: Sequence[str], device: str) -> ForkPlan:
    """What a command line of the fork's sampling scripts asks for, its network loaded.

    Args:
        argv: the words after the script's name.
        device: where to sample.

    Raises:
        InputError: a line that cannot be read, a model that does not fit it, no text, or nothing to enlarge.
    """
    asked = fork_sampling(argv)
    for note in asked.notes:
        say(note)
    if (asked.n is not None and asked.n < 1) or asked.batch_size < 1:
        n = "" if asked.n is None else f"--num_samples {asked.n} "
        raise InputError(f"{n}--batch_size {asked.batch_size}: no pictures to make")
    stage = _stage(asked, device)
    seed = secrets.randbelow(2**31) if asked.seed is None else asked.seed
    if asked.flags.upsampler:
        given, prompts = pictures_to_enlarge(asked, stage.config, seed)
    else:
        given, prompts = None, _prompts(asked, stage.config, seed)
    return Cascade((stage,), given), prompts, _settings(asked, stage.config), asked.batch_size


def _stage(asked: ForkSampling, device: str) -> Stage:
    network = load_fork_model(asked)
    # When training, the fork's list of timesteps is refused; when sampling, it belongs to the sampler.
    process = replace(asked.flags, values={**asked.flags.values, "timestep_respacing": ""})
    diffusion = validated(DiffusionConfig, diffusion_settings(process, network.config), "diffusion")
    return Stage(StageModel(network.to(device).requires_grad_(False), diffusion), str(asked.model))


def _prompts(asked: ForkSampling, config: ModelConfig, seed: int) -> list[Prompt]:
    if config.text is not None and asked.txt is None:
        raise InputError("no text to write", "Give the fork's --text_input.")
    return [Prompt(txt=asked.txt or "", capt=asked.capt, seed=seed + i) for i in range(asked.n or 0)]


def _settings(asked: ForkSampling, config: ModelConfig) -> SamplerSettings:
    fields: dict[str, Any] = {
        "sampler": asked.sampler,
        "fork_spacing": asked.fork_spacing,
        "clamp": asked.clamp,
    }
    # One weight guides both in the fork; a network that reads neither has nothing to be guided by.
    if config.text is not None or config.n_classes is not None:
        fields["guidance_txt"] = asked.guidance_scale
    if config.captions is not None:
        fields["guidance_capt"] = asked.guidance_scale
    return validated(SamplerSettings, fields, "sampling")
