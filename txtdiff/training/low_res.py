"""The small pictures of a training batch: shrunk ones, and some of them as the base model makes them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from datatools.errors import InputError
from txtdiff.conditioning import Prompt, StageModel, batch_denoiser
from txtdiff.config import RunConfig
from txtdiff.data.batch import Batch
from txtdiff.data.config import RemadeConfig
from txtdiff.data.low_res import make_low_res
from txtdiff.data.order import noise_at, uniform_at
from txtdiff.diffusion.losses import add_noise
from txtdiff.diffusion.samplers.ddim import sample_ddim
from txtdiff.diffusion.schedule import make_schedule
from txtdiff.diffusion.steps import trailing_steps
from txtdiff.sampler_settings import SamplerSettings
from txtdiff.stages import load_cascade

__all__ = ["check_remade", "small_pictures"]


def small_pictures(x0: Tensor, batch: Batch, config: RunConfig) -> tuple[Tensor, Tensor]:
    """What an upsampler is to enlarge, for each picture of a batch.

    Args:
        x0: (B, C, H, W) the batch's pictures in [-1, 1].

    Returns:
        (B, c, h, w) small pictures, and which of them the base has made anew, (B,) bool.
    """
    upsampler, how, seed = config.model.upsampler, config.data.low_res, config.run.seed
    assert upsampler is not None
    small = make_low_res(x0, upsampler.small_size_px, how, seed=seed, positions=batch.positions)
    n_last = torch.zeros(len(batch), dtype=torch.int64)
    if how.remade is not None:
        n_last = _steps_taken(uniform_at(seed, "remade", batch.positions), how.remade)
        noise = noise_at(seed, "remade_noise", batch.positions, small.shape[1:]).to(x0.device)
        small = _remake(small, noise, n_last, batch, how.remade)
    if upsampler.low_res_channels < small.shape[1]:
        small = small.mean(1, keepdim=True)
    return small, (n_last > 0).to(x0.device)


def check_remade(config: RunConfig, device: torch.device) -> None:
    """Open the base that makes small pictures anew, if there is one.

    Raises:
        InputError: there is no such checkpoint, or its pictures are not what the upsampler enlarges.
    """
    remade, upsampler = config.data.low_res.remade, config.model.upsampler
    if remade is None or upsampler is None:
        return
    base = _open(remade.base, device).network.config
    made = _in_words(base.image_size_px, base.image_channels)
    wanted = _in_words(upsampler.small_size_px, config.model.image_channels)
    if made != wanted:
        what = f"data.low_res.remade.base: {remade.base} makes {made}"
        raise InputError(what, f"This upsampler is to follow one of {wanted}.")


def _in_words(size_px: int, channels: int) -> str:
    return f"{'grey' if channels == 1 else 'colour'} pictures of {size_px} px"


@lru_cache(maxsize=1)
def _open(base: Path, device: torch.device) -> StageModel:
    return load_cascade([base], device=device).stages[0].model


def _steps_taken(chance: Tensor, remade: RemadeConfig) -> Tensor:
    """How many steps of the base each picture is taken through, (B,); 0: it stays."""
    span = remade.max_steps - remade.min_steps + 1
    drawn = remade.min_steps + (chance / max(remade.probability, 1e-9) * span).long()
    return torch.where(chance < remade.probability, drawn, 0)


@torch.no_grad()
def _remake(small: Tensor, noise: Tensor, n_last: Tensor, batch: Batch, remade: RemadeConfig) -> Tensor:
    """The small pictures, those with steps to take noised as far and sampled back."""
    model = _open(remade.base, small.device)
    schedule = make_schedule(model.diffusion.noise_schedule, model.diffusion.n_steps)
    steps = trailing_steps(schedule.n_steps, remade.n_steps)
    settings = SamplerSettings(
        sampler="ddim",
        n_steps=remade.n_steps,
        guidance_txt=remade.guidance_txt,
        guidance_capt=remade.guidance_capt,
    )
    small = small.clone()
    for n in sorted(set(n_last.tolist()) - {0}):
        which = (n_last == n).nonzero()[:, 0].tolist()
        prompts = [Prompt(txt=batch.texts[i], capt=batch.captions[i]) for i in which]
        path = steps[remade.n_steps - n :]
        t = torch.full((len(which),), path[0], device=small.device)
        noised = add_noise(small[which], noise[which], t, schedule)
        small[which] = sample_ddim(batch_denoiser(model, prompts, settings, None), noised, schedule, path)
    return small
