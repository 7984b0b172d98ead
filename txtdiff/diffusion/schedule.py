"""The noise schedule: how much of the picture is left at each timestep.

x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps, with alpha_bar falling from nearly 1 at t = 0.
Everything is float64 until it meets a picture: at the last step of the cosine schedule alpha_bar is 2.4e-9.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from txtdiff.diffusion.config import NoiseSchedule

__all__ = ["CLEAN", "Schedule", "make_schedule", "noise_betas"]

CLEAN = -1
"""The timestep after the last denoising step: no noise left, alpha_bar 1."""


@dataclass(frozen=True, eq=False)
class Schedule:
    """A table of alpha_bar over the timesteps 0 … n_steps - 1, strictly falling.

    Args:
        alpha_bar: shape (T,), the share of the picture's variance left at each timestep.
    """

    alpha_bar: NDArray[np.float64]

    @property
    def n_steps(self) -> int:
        return len(self.alpha_bar)

    def alpha_bar_at(self, t: int) -> float:
        """alpha_bar of one timestep; 1 at CLEAN."""
        return 1.0 if t == CLEAN else float(self.alpha_bar[t])

    def signal(self, t: int) -> float:
        """sqrt(alpha_bar): the factor of the clean picture in x_t."""
        return math.sqrt(self.alpha_bar_at(t))

    def noise(self, t: int) -> float:
        """sqrt(1 - alpha_bar): the factor of the noise in x_t."""
        return math.sqrt(1 - self.alpha_bar_at(t))

    def half_log_snr(self, t: int) -> float:
        """lambda = log(signal / noise), the clock of the exponential integrators; infinite at CLEAN."""
        return math.inf if t == CLEAN else math.log(self.signal(t) / self.noise(t))

    def at(self, t: Tensor) -> Tensor:
        """alpha_bar of a batch of timesteps, shaped to multiply pictures.

        Args:
            t: (B,) int64.

        Returns:
            (B, 1, 1, 1) float64 on the device of t; 1 where t is CLEAN.
        """
        return _table(self, t.device)[t].view(-1, 1, 1, 1)

    def in_float32(self) -> Schedule:
        """The same rounded to float32, as the fork's samplers had it: at small t the noise is 0.1 % off."""
        return Schedule(self.alpha_bar.astype(np.float32).astype(np.float64))


def noise_betas(kind: NoiseSchedule, n_steps: int) -> NDArray[np.float64]:
    """The variance added at each step, shape (n_steps,): beta_t = 1 - alpha_bar_t / alpha_bar_{t-1}."""
    if kind == "linear":  # Ho et al. 2020: 1e-4 … 0.02 over 1000 steps, scaled to the same total noise
        scale = 1000 / n_steps
        rising = np.linspace(1e-4 * scale, 0.02 * scale, n_steps, dtype=np.float64)
        return np.minimum(rising, 0.999)
    # Nichol and Dhariwal 2021, equation 17, with its offset 0.008 and its cut-off 0.999.
    edges = np.arange(n_steps + 1, dtype=np.float64) / n_steps
    curve = np.cos((edges + 0.008) / 1.008 * math.pi / 2) ** 2
    betas: NDArray[np.float64] = np.minimum(1 - curve[1:] / curve[:-1], 0.999)
    return betas


@lru_cache(maxsize=16)
def _table(schedule: Schedule, device: torch.device) -> Tensor:
    # CLEAN is -1, so the 1 appended at the end answers for it.
    return torch.tensor(np.append(schedule.alpha_bar, 1.0), device=device)


@cache
def make_schedule(kind: NoiseSchedule, n_steps: int) -> Schedule:
    """The schedule of that name and length."""
    alpha_bar: NDArray[np.float64] = np.cumprod(1 - noise_betas(kind, n_steps), dtype=np.float64)
    alpha_bar.setflags(write=False)
    return Schedule(alpha_bar)
