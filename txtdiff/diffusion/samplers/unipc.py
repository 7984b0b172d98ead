"""UniPC (Zhao et al. 2023): a multistep predictor whose next evaluation also corrects the step before."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from txtdiff.diffusion.denoiser import Denoiser
from txtdiff.diffusion.samplers.exponential import constant_x0_step
from txtdiff.diffusion.schedule import CLEAN, Schedule

__all__ = ["sample_unipc"]


class _Point(NamedTuple):
    """One evaluation: the timestep's lambda and the x0 found there."""

    half_log_snr: float
    x0: Tensor


@torch.no_grad()
def sample_unipc(
    denoiser: Denoiser, x: Tensor, schedule: Schedule, steps: tuple[int, ...], *, order: int = 2
) -> Tensor:
    """Zhao et al. 2023, algorithms 5 to 8 in x0, with B(h) = e^-h - 1 (their bh2).

    Arguments as in `sample_ddpm`; one evaluation per step.

    Args:
        order: of the predictor, with the corrector one more.
    """
    past: list[_Point] = [_Point(schedule.half_log_snr(steps[0]), denoiser(x, steps[0]).x0)]  # newest first
    for i, (t, s) in enumerate(pairwise(steps), start=1):
        if s == CLEAN:
            return constant_x0_step(x, past[0].x0, schedule, t, s)
        known = past[: min(order, i)]
        predicted = _unified_step(x, known, None, schedule, t, s)
        ahead = _Point(schedule.half_log_snr(s), denoiser(predicted, s).x0)
        x = _unified_step(x, known, ahead, schedule, t, s)
        past = [ahead, *past][:order]
    return x


def _unified_step(
    x: Tensor, known: list[_Point], ahead: _Point | None, schedule: Schedule, t: int, s: int
) -> Tensor:
    """The step t -> s from the known evaluations (newest, at t, first) and, to correct it, the one ahead."""
    here = known[0]
    h = schedule.half_log_snr(s) - here.half_log_snr
    others = known[1:] if ahead is None else [*known[1:], ahead]
    moved = constant_x0_step(x, here.x0, schedule, t, s)
    if not others:
        return moved
    ratios = np.array([(point.half_log_snr - here.half_log_snr) / h for point in others])
    scale = -schedule.signal(s) * math.expm1(-h)
    for weight, ratio, point in zip(_weights(ratios, h), ratios, others, strict=True):
        moved = moved + scale * (weight / ratio) * (point.x0 - here.x0)
    return moved


def _weights(ratios: NDArray[np.float64], h: float) -> NDArray[np.float64]:
    """Weights of the divided differences (Zhao et al. 2023, equations 8 and 9): R a = b."""
    n = len(ratios)
    if n == 1:
        return np.array([0.5])  # the paper's choice, free of the near-singular system
    b = np.empty(n)
    phi = math.expm1(-h) / -h - 1
    for k in range(n):
        b[k] = phi * math.factorial(k + 1) / math.expm1(-h)
        phi = phi / -h - 1 / math.factorial(k + 2)
    return np.asarray(np.linalg.solve(np.vander(ratios, n, increasing=True).T, b), np.float64)
