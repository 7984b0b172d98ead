"""Heun's method in its exponential form: two evaluations per step, second order."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from txtdiff.diffusion.denoiser import Denoiser
from txtdiff.diffusion.samplers.exponential import constant_x0_step, log_snr_step
from txtdiff.diffusion.schedule import CLEAN, Schedule

__all__ = ["sample_heun"]


@torch.no_grad()
def sample_heun(denoiser: Denoiser, x: Tensor, schedule: Schedule, steps: tuple[int, ...]) -> Tensor:
    """Exponential Heun (Hochbruck and Ostermann 2010, example 2.15); the step to CLEAN is a DDIM step.

    Heun in noise / signal, as EDM has it (Karras et al. 2022, algorithm 1), divides by alpha_bar and
    diverges when a schedule ends in pure noise, as the cosine schedule does. Arguments as in `sample_ddpm`.
    """
    for t, s in pairwise(steps):
        x0 = denoiser(x, t).x0
        ahead = constant_x0_step(x, x0, schedule, t, s)
        if s == CLEAN:
            return ahead
        h = log_snr_step(schedule, t, s)
        # x0 goes in a straight line of lambda from its value here to its value ahead.
        x = ahead + schedule.signal(s) * (1 + math.expm1(-h) / h) * (denoiser(ahead, s).x0 - x0)
    return x
