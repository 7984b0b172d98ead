"""DDIM (Song et al. 2021): deterministic at eta 0, as noisy as ancestral sampling at eta 1."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from txtdiff.diffusion.denoiser import Denoiser, Prediction
from txtdiff.diffusion.noise import NoiseSource
from txtdiff.diffusion.schedule import Schedule

__all__ = ["ddim_sigma", "ddim_step", "sample_ddim"]


@torch.no_grad()
def sample_ddim(
    denoiser: Denoiser,
    x: Tensor,
    schedule: Schedule,
    steps: tuple[int, ...],
    noise: NoiseSource | None = None,
    eta: float = 0.0,
) -> Tensor:
    """Song et al. 2021, equation 12. Arguments as in `sample_ddpm`.

    Args:
        eta: the share of ancestral noise; above 0 `noise` is drawn once per step.
    """
    if eta > 0 and noise is None:
        raise ValueError("eta above 0 needs a source of noise")
    for t, s in pairwise(steps):
        sigma = ddim_sigma(schedule, t, s, eta)
        x = ddim_step(denoiser(x, t), schedule, s, sigma)
        if noise is not None and sigma > 0:
            x = x + sigma * noise()
    return x


def ddim_step(prediction: Prediction, schedule: Schedule, s: int, sigma: float = 0.0) -> Tensor:
    """The picture at timestep s, before noise of deviation sigma is added."""
    of_eps = math.sqrt(1 - schedule.alpha_bar_at(s) - sigma**2)
    return schedule.signal(s) * prediction.x0 + of_eps * prediction.eps


def ddim_sigma(schedule: Schedule, t: int, s: int, eta: float) -> float:
    """Deviation of the step's noise (Song et al. 2021, equation 16); 0 on the step to CLEAN."""
    ab_t, ab_s = schedule.alpha_bar_at(t), schedule.alpha_bar_at(s)
    return eta * math.sqrt((1 - ab_s) / (1 - ab_t) * (1 - ab_t / ab_s))
