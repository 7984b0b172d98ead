"""What PRK and PLMS share (Liu et al. 2022): they average noise predictions and move along `Transfer`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from txtdiff.diffusion.denoiser import Denoiser, x0_and_eps
from txtdiff.diffusion.noise import NoiseSource
from txtdiff.diffusion.schedule import CLEAN, Schedule
from txtdiff.diffusion.steps import midpoint
from txtdiff.diffusion.thresholding import clamp_x0

__all__ = [
    "AS_PUBLISHED",
    "N_RUNGE_KUTTA",
    "DdimSteps",
    "PseudoOptions",
    "Transfer",
    "runge_kutta",
    "with_midpoints",
]

Limit = Callable[[Tensor], Tensor]
N_RUNGE_KUTTA = 3
"""Steps at the start of PLMS that build up the history it extrapolates from."""


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


AS_PUBLISHED = PseudoOptions()


@dataclass(frozen=True)
class Transfer:
    """x_t and a noise -> x_s: Liu et al. 2022, equation 11, the DDIM step for any noise and any s."""

    schedule: Schedule
    limit: Limit | None

    def __call__(self, x: Tensor, eps: Tensor, t: int, s: int, sigma: float = 0.0) -> Tensor:
        x0, _ = x0_and_eps(eps, x, self.schedule, t, "eps")
        x0 = x0 if self.limit is None else self.limit(x0)
        return self.schedule.signal(s) * x0 + math.sqrt(1 - self.schedule.alpha_bar_at(s) - sigma**2) * eps


def with_midpoints(
    steps: tuple[int, ...], midpoints: tuple[int, ...] | None
) -> Iterator[tuple[int, int, int]]:
    """Each step as (from, through, to)."""
    pairs = list(pairwise(steps))
    middles = midpoints or [midpoint(t, s) for t, s in pairs]
    return ((t, middle, s) for (t, s), middle in zip(pairs, middles, strict=True))


def runge_kutta(
    denoiser: Denoiser, x: Tensor, eps1: Tensor, move: Transfer, step: tuple[int, int, int]
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
