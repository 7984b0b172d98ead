"""Pseudo linear multistep, PLMS (Liu et al. 2022): one evaluation per step after the first three."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from txtdiff.diffusion.denoiser import Denoiser, Prediction
from txtdiff.diffusion.samplers.ddim import ddim_sigma, ddim_step
from txtdiff.diffusion.samplers.ddpm import log_variance_bounds
from txtdiff.diffusion.samplers.pseudo import (
    AS_PUBLISHED,
    N_RUNGE_KUTTA,
    DdimSteps,
    PseudoOptions,
    Transfer,
    runge_kutta,
    with_midpoints,
)
from txtdiff.diffusion.schedule import Schedule

__all__ = ["sample_plms"]

ADAMS_BASHFORTH = (55 / 24, -59 / 24, 37 / 24, -9 / 24)  # newest first; Liu et al. 2022, equation 12


@torch.no_grad()
def sample_plms(
    denoiser: Denoiser,
    x: Tensor,
    schedule: Schedule,
    steps: tuple[int, ...],
    options: PseudoOptions = AS_PUBLISHED,
) -> Tensor:
    """Pseudo linear multistep: after three Runge-Kutta steps one evaluation each (Liu et al. 2022, alg. 2).

    Arguments as in `sample_prk`.
    """
    move = Transfer(schedule, options.limit)
    history: list[Tensor] = []  # newest first
    for i, (t, middle, s) in enumerate(with_midpoints(steps, options.midpoints)):
        first = denoiser(x, t)
        if schedule.signal(t) < options.min_signal:
            x = ddim_step(first, schedule, s)
            continue
        if options.ddim is not None and options.ddim.cover(i, len(steps) - 1):
            history = [first.eps, *history]
            x = _noisy_ddim_step(first, schedule, (t, s), options.ddim, learned=i >= N_RUNGE_KUTTA)
            continue
        if len(history) < N_RUNGE_KUTTA:
            eps = runge_kutta(denoiser, x, first.eps, move, (t, middle, s))
            history = [eps, *history]
        else:
            history = [first.eps, *history][: len(ADAMS_BASHFORTH)]
            eps = _adams_bashforth(history)
        x = move(x, eps, t, s)
    return x


def _noisy_ddim_step(
    prediction: Prediction, schedule: Schedule, step: tuple[int, int], ddim: DdimSteps, *, learned: bool
) -> Tensor:
    """A DDIM step whose noise has the learned variance, or that of eta."""
    t, s = step
    sigma = torch.tensor(ddim_sigma(schedule, t, s, ddim.eta))
    left = 1 - schedule.alpha_bar_at(s)
    if learned:
        lower, upper = log_variance_bounds(schedule, t, s)
        # No more variance than there is noise at s.
        upper = min(upper, math.log(left))
        mix = torch.as_tensor(prediction.variance_mix)
        sigma = torch.exp((mix * upper + (1 - mix) * lower) / 2)
    of_eps = (left - sigma.square()).clamp(min=0).sqrt()
    return schedule.signal(s) * prediction.x0 + of_eps * prediction.eps + sigma * ddim.noise()


def _adams_bashforth(history: Sequence[Tensor]) -> Tensor:
    """The noise of the next step from those of the last four."""
    eps = torch.zeros_like(history[0])
    for weight, past in zip(ADAMS_BASHFORTH, history, strict=True):
        eps = eps + weight * past
    return eps
