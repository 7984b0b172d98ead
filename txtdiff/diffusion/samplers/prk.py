"""Pseudo Runge-Kutta (Liu et al. 2022): four evaluations per step."""

from __future__ import annotations

import torch
from torch import Tensor

from txtdiff.diffusion.denoiser import Denoiser
from txtdiff.diffusion.noise import NoiseSource
from txtdiff.diffusion.samplers.ddim import ddim_sigma, ddim_step
from txtdiff.diffusion.samplers.pseudo import (
    AS_PUBLISHED,
    PseudoOptions,
    Transfer,
    runge_kutta,
    with_midpoints,
)
from txtdiff.diffusion.schedule import Schedule

__all__ = ["sample_prk"]


@torch.no_grad()
def sample_prk(
    denoiser: Denoiser,
    x: Tensor,
    schedule: Schedule,
    steps: tuple[int, ...],
    options: PseudoOptions = AS_PUBLISHED,
    *,
    eta: float = 0.0,
    noise: NoiseSource | None = None,
) -> Tensor:
    """Pseudo Runge-Kutta: four evaluations per step, two on the step to CLEAN (Liu et al. 2022, section 3.3).

    Args:
        denoiser: its eps is averaged.
        x: (B, C, H, W) noise of the first timestep.
        schedule: of the training.
        steps: timesteps from noisy to clean.
        options: see there.
        eta, noise: ancestral noise in each step, as in `sample_ddim`.

    Returns:
        (B, C, H, W), the picture at the last timestep.
    """
    if eta > 0 and noise is None:
        raise ValueError("eta above 0 needs a source of noise")
    move = Transfer(schedule, options.limit)
    for t, middle, s in with_midpoints(steps, options.midpoints):
        first = denoiser(x, t)
        sigma = ddim_sigma(schedule, t, s, eta)
        if schedule.signal(t) < options.min_signal:
            x = ddim_step(first, schedule, s, sigma)
        else:
            x = move(x, runge_kutta(denoiser, x, first.eps, move, (t, middle, s)), t, s, sigma)
        if noise is not None and sigma > 0:
            x = x + sigma * noise()
    return x
