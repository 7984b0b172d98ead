"""Base model, then any number of upsamplers: prompts in, pictures out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datatools.errors import InputError
from txtdiff.conditioning import LowRes, Prompt, StageModel, batch_denoiser
from txtdiff.data.low_res import as_channels
from txtdiff.diffusion.losses import add_noise
from txtdiff.diffusion.noise import LOW_RES, START, STEPS, picture_noise
from txtdiff.diffusion.schedule import make_schedule
from txtdiff.sampler_settings import SamplerSettings, parse_sampler, run_sampler
from txtdiff.stages import Cascade, Stage, load_cascade

__all__ = [
    "Cascade",
    "Prompt",
    "SampledPictures",
    "SamplerSettings",
    "Stage",
    "load_cascade",
    "parse_sampler",
    "sample_pictures",
    "to_uint8",
]


@dataclass(frozen=True, eq=False)
class SampledPictures:
    """A batch of finished pictures.

    prompts: one per picture, in order.
    pictures: (N, H, W, 3) uint8.
    base_pictures: (N, h, w, 3) uint8, those of the first stage (the same array when it is the only one), or
        those given.
    n_evaluations: how often a network was evaluated for each picture, over all stages.
    seconds: what the whole batch took.
    """

    prompts: tuple[Prompt, ...]
    pictures: NDArray[np.uint8]
    base_pictures: NDArray[np.uint8]
    n_evaluations: int
    seconds: float


def sample_pictures(
    cascade: Cascade,
    prompts: Sequence[Prompt],
    settings: Sequence[SamplerSettings],
    batch_size: int,
    *,
    exact: bool = False,
    on_batch: Callable[[SampledPictures], None] | None = None,
) -> Iterator[SampledPictures]:
    """Sample one picture per prompt, batch by batch.

    A picture depends on its prompt, the settings and the weights alone: its noise is bit-identical at any
    batch size, and the picture then differs by rounding only, at most a grey level.

    Args:
        cascade: base first.
        prompts: what to show; one for each of `cascade.given` where there are such.
        settings: one per stage.
        batch_size: pictures per batch.
        exact: one picture a pass, so that not even rounding depends on the batch.
        on_batch: called with each batch before it is given out.
    """
    if len(settings) != len(cascade.stages):
        raise InputError(
            f"{len(settings)} sampler settings for {len(cascade.stages)} stages", "Give one each."
        )
    if cascade.given is not None and len(cascade.given) != len(prompts):
        raise InputError(f"{len(prompts)} prompts for {len(cascade.given)} pictures", "Give one each.")
    knows_classes = any(stage.config.n_classes is not None for stage in cascade.stages)
    if not knows_classes and any(prompt.label is not None for prompt in prompts):
        raise InputError("a class is given, and no stage knows classes")
    if batch_size < 1:
        raise InputError(f"batch size {batch_size} is not a number of pictures")
    size = 1 if exact else batch_size
    for first in range(0, len(prompts), size):
        which = slice(first, first + size)
        small = None if cascade.given is None else cascade.given[which]
        batch = _sample_batch(cascade, prompts[which], settings, small)
        if on_batch is not None:
            on_batch(batch)
        yield batch


@torch.no_grad()
def _sample_batch(
    cascade: Cascade, prompts: Sequence[Prompt], settings: Sequence[SamplerSettings], small: Tensor | None
) -> SampledPictures:
    start, n_rows = time.perf_counter(), 0
    outputs: list[Tensor] = [] if small is None else [small]
    # The number of a stage chooses its noise: given pictures stand in for the base model, number 0.
    stages = zip(cascade.stages, settings, strict=True)
    for i, (stage, choice) in enumerate(stages, start=len(outputs)):
        with _counted_rows(stage.model) as rows:
            outputs.append(_sample_stage(stage, i, prompts, choice, outputs[-1] if outputs else None))
        n_rows += rows[0]
    pictures = to_uint8(outputs[-1])  # waits for the device
    seconds = time.perf_counter() - start
    base = pictures if len(outputs) == 1 else to_uint8(outputs[0])
    return SampledPictures(tuple(prompts), pictures, base, n_rows // len(prompts), seconds)


def _sample_stage(
    stage: Stage, index: int, prompts: Sequence[Prompt], settings: SamplerSettings, small: Tensor | None
) -> Tensor:
    """(B, C, H, W) pictures of one stage; `small` are of the stage before, not rounded nor clamped."""
    config, model = stage.config, stage.model
    schedule = make_schedule(model.diffusion.noise_schedule, model.diffusion.n_steps)
    shape = (config.image_channels, config.image_size_px, config.image_size_px)
    seeds = [prompt.seed for prompt in prompts]
    start = picture_noise(seeds, shape, stage=index, purpose=START, device=model.device)
    steps = picture_noise(seeds, shape, stage=index, purpose=STEPS, device=model.device)
    low_res = _low_res(stage, index, seeds, settings, small)
    denoiser = batch_denoiser(model, prompts, settings, low_res)
    return run_sampler(settings, denoiser, start(), schedule, steps)


def _low_res(
    stage: Stage, index: int, seeds: Sequence[int], settings: SamplerSettings, small: Tensor | None
) -> LowRes | None:
    """What an upsampler starts from, noised as the settings say; None for a base model."""
    noise_config = stage.model.diffusion.low_res_noise
    if settings.noise_level and (small is None or noise_config is None):
        raise InputError(
            f"noise_level has no effect on {stage.name}",
            "Only upsamplers trained with diffusion.low_res_noise have one.",
        )
    if small is None or stage.config.upsampler is None:
        return None
    small = as_channels(small.to(stage.model.device), stage.config)
    if noise_config is None:
        return LowRes(small, None, small)
    clean = small
    if settings.noise_level:  # 0 leaves the picture clean, though level 0 of training was a little noisy
        if settings.noise_level >= noise_config.n_levels:
            raise InputError(
                f"noise_level {settings.noise_level} is beyond the {noise_config.n_levels} levels that "
                f"{stage.name} was trained with",
                f"Use 0 to {noise_config.n_levels - 1}.",
            )
        shape = (small.shape[1], small.shape[2], small.shape[3])
        noise = picture_noise(seeds, shape, stage=index, purpose=LOW_RES, device=small.device)
        level = torch.full((len(small),), settings.noise_level, device=small.device)
        schedule = make_schedule(noise_config.noise_schedule, noise_config.n_steps)
        small = add_noise(small, noise(), level, schedule)
    return LowRes(small, settings.noise_level, clean)


def to_uint8(pictures: Tensor) -> NDArray[np.uint8]:
    """(N, C, H, W) in -1…1 -> (N, H, W, 3) uint8, rounded; grey becomes RGB."""
    levels = ((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous().cpu().numpy()


@contextmanager
def _counted_rows(model: StageModel) -> Iterator[list[int]]:
    """Counts predictions that a stage's networks make meanwhile, in a list of one number."""
    rows = [0]

    def count(_module: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> None:
        rows[0] += len(output)

    networks = [network for network in (model.network, model.weaker) if network is not None]
    hooks = [network.register_forward_hook(count) for network in networks]
    try:
        yield rows
    finally:
        for hook in hooks:
            hook.remove()
