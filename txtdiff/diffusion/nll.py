"""Bits per dimension: how well a model compresses pictures, by the variational bound over all timesteps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from txtdiff.diffusion.denoiser import Denoiser
from txtdiff.diffusion.losses import add_noise
from txtdiff.diffusion.noise import NoiseSource
from txtdiff.diffusion.schedule import Schedule
from txtdiff.diffusion.variational import bound_term, prior_term

__all__ = ["BitsPerDimension", "bits_per_dimension"]


class BitsPerDimension(NamedTuple):
    """An upper bound on the bits that a lossless code would spend on each number of a picture.

    total: (B,) prior plus all terms.
    prior: (B,) what the noisiest timestep still tells about the picture.
    terms: (B, T) the bound's terms, cleanest timestep first; the first is the grey levels' own.
    x0_mse: (B, T) squared error of the predicted picture at each timestep.
    """

    total: Tensor
    prior: Tensor
    terms: Tensor
    x0_mse: Tensor


@torch.no_grad()
def bits_per_dimension(
    denoiser: Denoiser,
    x0: Tensor,
    schedule: Schedule,
    noise: NoiseSource,
    *,
    kept: Sequence[int] | None = None,
    on_step: Callable[[], None] | None = None,
) -> BitsPerDimension:
    """The bound of Ho et al. 2020, equation 5, with one draw of noise per timestep.

    Args:
        denoiser: clamped, as the parent project has it, and without guidance, which is no likelihood.
        x0: (B, C, H, W) pictures of 256 grey levels in -1…1.
        schedule: of the training.
        noise: drawn once per timestep.
        kept: rising timesteps of a coarser process, from `parse_spacing`: fewer evaluations, a looser bound.
            None = all.
        on_step: called after every evaluation.
    """
    timesteps = range(schedule.n_steps) if kept is None else kept
    process = schedule if kept is None else Schedule(schedule.alpha_bar[list(kept)])
    terms, errors = [], []
    for i, timestep in enumerate(timesteps):
        t = torch.full((len(x0),), i, device=x0.device)
        x_t = add_noise(x0, noise(), t, process)
        prediction = denoiser(x_t, timestep)
        terms.append(bound_term(prediction.x0, prediction.variance_mix, x0, x_t, t, process))
        errors.append((prediction.x0 - x0).square().flatten(1).mean(1))
        if on_step is not None:
            on_step()
    bound, prior = torch.stack(terms, dim=1), prior_term(x0, process)
    return BitsPerDimension(prior + bound.sum(1), prior, bound, torch.stack(errors, dim=1))
