"""Ancestral sampling (Ho et al. 2020), with the learned variance of Nichol and Dhariwal 2021."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from txtdiff.diffusion.denoiser import Denoiser
from txtdiff.diffusion.noise import NoiseSource
from txtdiff.diffusion.schedule import CLEAN, Schedule

__all__ = ["log_variance_bounds", "posterior_mean", "sample_ddpm", "step_log_variance"]


@torch.no_grad()
def sample_ddpm(
    denoiser: Denoiser, x: Tensor, schedule: Schedule, steps: tuple[int, ...], noise: NoiseSource
) -> Tensor:
    """Ho et al. 2020, algorithm 2, over any falling list of timesteps.

    Args:
        denoiser: predicts x0.
        x: (B, C, H, W) noise of the first timestep.
        schedule: of the training.
        steps: timesteps from noisy to clean.
        noise: drawn once per step.

    Returns:
        (B, C, H, W), the picture at the last timestep.
    """
    for t, s in pairwise(steps):
        prediction = denoiser(x, t)
        mean = posterior_mean(prediction.x0, x, schedule, t, s)
        if s == CLEAN:
            return mean
        deviation = torch.as_tensor(step_log_variance(prediction.variance_mix, schedule, t, s) / 2).exp()
        x = mean + deviation * noise()
    return x


def posterior_mean(x0: Tensor, x: Tensor, schedule: Schedule, t: int, s: int) -> Tensor:
    """The mean of q(x_s | x_t, x0), s < t (Ho et al. 2020, equation 7)."""
    ab_t, ab_s = schedule.alpha_bar_at(t), schedule.alpha_bar_at(s)
    beta = 1 - ab_t / ab_s
    of_x0 = beta * math.sqrt(ab_s) / (1 - ab_t)
    of_x = (1 - ab_s) * math.sqrt(ab_t / ab_s) / (1 - ab_t)
    return of_x0 * x0 + of_x * x


def step_log_variance(mix: Tensor | float, schedule: Schedule, t: int, s: int) -> Tensor | float:
    """Log variance of the step t -> s, between its bounds (Nichol and Dhariwal 2021, equation 15)."""
    lower, upper = log_variance_bounds(schedule, t, s)
    return mix * upper + (1 - mix) * lower


def log_variance_bounds(schedule: Schedule, t: int, s: int) -> tuple[float, float]:
    """That of q(x_s | x_t, x0), which knows the picture, and that of beta, which knows nothing of it."""
    ab_t, ab_s = schedule.alpha_bar_at(t), schedule.alpha_bar_at(s)
    upper = math.log(1 - ab_t / ab_s)
    return upper + math.log((1 - ab_s) / (1 - ab_t)), upper
