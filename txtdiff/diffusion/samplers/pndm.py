"""Pseudo numerical methods (Liu et al. 2022): Runge-Kutta (PRK) and linear multistep (PLMS) on the noise.

Both average noise predictions and move along `transfer`, the DDIM step with that average. They start with
the same fourth-order steps, which is why they share a file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from txtdiff.diffusion.denoiser import Denoiser, Prediction, x0_and_eps
from txtdiff.diffusion.noise import NoiseSource
from txtdiff.diffusion.samplers.ddim import ddim_sigma, ddim_step
from txtdiff.diffusion.samplers.ddpm import log_variance_bounds
from txtdiff.diffusion.schedule import CLEAN, Schedule
from txtdiff.diffusion.steps import midpoint
from txtdiff.diffusion.thresholding import clamp_x0

__all__ = ["DdimSteps", "PseudoOptions", "sample_plms", "sample_prk"]

Limit = Callable[[Tensor], Tensor]
N_RUNGE_KUTTA = 3  # steps that build up the history PLMS extrapolates from
ADAMS_BASHFORTH = (55 / 24, -59 / 24, 37 / 24, -9 / 24)  # newest first; Liu et al. 2022, equation 12


@dataclass(frozen=True, kw_only=True)
class DdimSteps:
    """The fork's mixture: some steps of PLMS are DDIM steps with noise.

    first: so many at the start, and two more than that once past the three Runge-Kutta steps (the fork's
        counter starts again there).
    last: the steps at the end, one less than this number.
    eta: noise of those among the first three steps; later ones take the learned variance.
    noise: drawn once for each of them.
    """

    first: int = 0
    last: int = 0
    eta: float = 0.0
    noise: NoiseSource

    def cover(self, step: int, n_steps: int) -> bool:
        counted = step if step < N_RUNGE_KUTTA else step - N_RUNGE_KUTTA + 1
        return counted < self.first or n_steps - step < self.last


@dataclass(frozen=True, kw_only=True)
class PseudoOptions:
    """What is free in the pseudo methods.

    midpoints: the timestep within each step; None: halfway.
    limit: keeps the x0 of every transfer in range. Where alpha_bar is tiny an average of eps means an x0 far
        outside, so without it sampling from the last cosine timestep diverges.
    min_signal: a step from where sqrt(alpha_bar) is less is a DDIM step. There an average of eps says nothing
        about the picture: rounding errors are divided by the signal, 5e-5 at the last cosine timestep.
    ddim: steps of PLMS that are DDIM steps; None: none.
    """

    midpoints: tuple[int, ...] | None = None
    limit: Limit | None = clamp_x0
    min_signal: float = 0.005
    ddim: DdimSteps | None = None


@torch.no_grad()
def sample_prk(
    denoiser: Denoiser,
    x: Tensor,
    schedule: Schedule,
    steps: tuple[int, ...],
    options: PseudoOptions = PseudoOptions(),
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
    move = _Transfer(schedule, options.limit)
    for t, middle, s in _with_midpoints(steps, options.midpoints):
        first = denoiser(x, t)
        sigma = ddim_sigma(schedule, t, s, eta)
        if schedule.signal(t) < options.min_signal:
            x = ddim_step(first, schedule, s, sigma)
        else:
            x = move(x, _runge_kutta(denoiser, x, first.eps, move, (t, middle, s)), t, s, sigma)
        if noise is not None and sigma > 0:
            x = x + sigma * noise()
    return x


@torch.no_grad()
def sample_plms(
    denoiser: Denoiser,
    x: Tensor,
    schedule: Schedule,
    steps: tuple[int, ...],
    options: PseudoOptions = PseudoOptions(),
) -> Tensor:
    """Pseudo linear multistep: after three Runge-Kutta steps one evaluation each (Liu et al. 2022, alg. 2).

    Arguments as in `sample_prk`.
    """
    move = _Transfer(schedule, options.limit)
    history: list[Tensor] = []  # newest first
    for i, (t, middle, s) in enumerate(_with_midpoints(steps, options.midpoints)):
        first = denoiser(x, t)
        if schedule.signal(t) < options.min_signal:
            x = ddim_step(first, schedule, s)
            continue
        if options.ddim is not None and options.ddim.cover(i, len(steps) - 1):
            history = [first.eps, *history]
            x = _noisy_ddim_step(first, schedule, (t, s), options.ddim, learned=i >= N_RUNGE_KUTTA)
            continue
        if len(history) < N_RUNGE_KUTTA:
            eps = _runge_kutta(denoiser, x, first.eps, move, (t, middle, s))
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


@dataclass(frozen=True)
class _Transfer:
    """x_t and a noise -> x_s: Liu et al. 2022, equation 11, the DDIM step for any noise and any s."""

    schedule: Schedule
    limit: Limit | None

    def __call__(self, x: Tensor, eps: Tensor, t: int, s: int, sigma: float = 0.0) -> Tensor:
        x0, _ = x0_and_eps(eps, x, self.schedule, t, "eps")
        x0 = x0 if self.limit is None else self.limit(x0)
        return self.schedule.signal(s) * x0 + math.sqrt(1 - self.schedule.alpha_bar_at(s) - sigma**2) * eps


def _with_midpoints(
    steps: tuple[int, ...], midpoints: tuple[int, ...] | None
) -> Iterator[tuple[int, int, int]]:
    """Each step as (from, through, to)."""
    pairs = list(pairwise(steps))
    middles = midpoints or [midpoint(t, s) for t, s in pairs]
    return ((t, middle, s) for (t, s), middle in zip(pairs, middles, strict=True))


def _runge_kutta(
    denoiser: Denoiser, x: Tensor, eps1: Tensor, move: _Transfer, step: tuple[int, int, int]
) -> Tensor:
    """The noise of one step: Liu et al. 2022, equation 13 (the classical fourth-order weights)."""
    t, middle, s = step
    x1 = move(x, eps1, t, middle)
    eps2 = denoiser(x1, middle).eps
    if s == CLEAN:
        # A clean picture holds no noise to predict: the midpoint rule, second order, ends the path.
        return eps2
    x2 = move(x, eps2, t, middle)
    eps3 = denoiser(x2, middle).eps
    x3 = move(x, eps3, t, s)
    eps4 = denoiser(x3, s).eps
    return (eps1 + 2 * eps2 + 2 * eps3 + eps4) / 6


def _adams_bashforth(history: Sequence[Tensor]) -> Tensor:
    """The noise of the next step from those of the last four."""
    eps = torch.zeros_like(history[0])
    for weight, past in zip(ADAMS_BASHFORTH, history, strict=True):
        eps = eps + weight * past
    return eps
