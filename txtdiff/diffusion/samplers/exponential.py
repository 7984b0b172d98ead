"""The half-linear form that DPM-Solver, UniPC and exponential Heun share.

With lambda = log(signal / noise) as the clock, x_s = noise_s / noise_t x_t + noise_s * integral of
e^lambda x0(lambda) d lambda (Lu et al. 2022, equation 9 of DPM-Solver++). Solvers differ only in how they
continue x0 between evaluations. All factors stay bounded where alpha_bar goes to 0 or to 1.
"""

from __future__ import annotations

import math

from torch import Tensor

from txtdiff.diffusion.schedule import Schedule

__all__ = ["constant_x0_step", "log_snr_step"]


def log_snr_step(schedule: Schedule, t: int, s: int) -> float:
    """h = lambda_s - lambda_t > 0, the length of the step; infinite to CLEAN."""
    return schedule.half_log_snr(s) - schedule.half_log_snr(t)


def constant_x0_step(x: Tensor, x0: Tensor, schedule: Schedule, t: int, s: int) -> Tensor:
    """The step t -> s with x0 held constant: DPM-Solver++(1), which is DDIM."""
    return (schedule.noise(s) / schedule.noise(t)) * x - schedule.signal(s) * math.expm1(
        -log_snr_step(schedule, t, s)
    ) * x0
