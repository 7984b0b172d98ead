"""DPM-Solver++(2M) (Lu et al. 2022): one evaluation per step, second order."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from txtdiff.diffusion.denoiser import Denoiser
from txtdiff.diffusion.samplers.exponential import constant_x0_step, log_snr_step
from txtdiff.diffusion.schedule import CLEAN, Schedule

__all__ = ["sample_dpmpp_2m"]


@torch.no_grad()
def sample_dpmpp_2m(denoiser: Denoiser, x: Tensor, schedule: Schedule, steps: tuple[int, ...]) -> Tensor:
    """Lu et al. 2022, DPM-Solver++, algorithm 2; first and last step are DDIM steps.

    Arguments as in `sample_ddpm`.
    """
    last_x0: Tensor | None = None
    last_h = 0.0
    for t, s in pairwise(steps):
        x0 = denoiser(x, t).x0
        h = log_snr_step(schedule, t, s)
        midway = x0
        if last_x0 is not None and s != CLEAN:
            midway = x0 + h / (2 * last_h) * (x0 - last_x0)
        x = constant_x0_step(x, midway, schedule, t, s)
        last_x0, last_h = x0, h
    return x
