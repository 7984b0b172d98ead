"""The seam between networks and samplers: whatever a network predicts, a sampler sees x0 and eps.

Guidance and thresholding wrap a Denoiser in the same shape, so a sampler knows neither networks nor
parameterisations nor conditioning (the idea of k-diffusion's `external.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from txtdiff.diffusion.config import DiffusionConfig, Parameterisation
from txtdiff.diffusion.schedule import Schedule, make_schedule

__all__ = [
    "Denoiser",
    "Network",
    "Prediction",
    "eps_from_x0",
    "network_denoiser",
    "network_timesteps",
    "split_output",
    "v_of",
    "x0_and_eps",
]


class Prediction(NamedTuple):
    """What is known about a noisy picture at one timestep.

    x0: the clean picture, (B, C, H, W).
    eps: the noise, (B, C, H, W); x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps.
    variance_mix: where the log variance of a step lies between its lower (0) and upper (1) bound;
        (B, C, H, W), or one number for all when the variance is fixed.
    """

    x0: Tensor
    eps: Tensor
    variance_mix: Tensor | float


Network = Callable[..., Tensor]
"""(x (B, C, H, W), timesteps (B,), **conditioning) -> (B, C or 2C, H, W), or N * B such rows for conditioning
that holds N for each picture."""

Denoiser = Callable[[Tensor, int], Prediction]
"""(x_t (B, C, H, W), timestep of the training schedule) -> Prediction. Conditioning is bound already."""


def network_denoiser(network: Network, config: DiffusionConfig, cond: Mapping[str, Any]) -> Denoiser:
    """A Denoiser from a network and its conditioning (keyword arguments of the network).

    With conditioning for N times as many rows as there are pictures, so many predictions come out.
    """
    schedule = make_schedule(config.noise_schedule, config.n_steps)

    def denoise(x: Tensor, t: int) -> Prediction:
        timesteps = torch.full((len(x),), t, device=x.device)
        output = network(x, network_timesteps(timesteps, config), **cond).to(x.dtype)
        x = x.repeat(len(output) // len(x), 1, 1, 1)
        prediction, mix = split_output(output, x.shape[1], config)
        return Prediction(*x0_and_eps(prediction, x, schedule, t, config.parameterisation), mix)

    return denoise


def network_timesteps(t: Tensor, config: DiffusionConfig) -> Tensor:
    """Timesteps as the network sees them: t itself, or float t * 1000 / n_steps."""
    return t.float() * (1000.0 / config.n_steps) if config.rescale_timesteps else t


def split_output(output: Tensor, n_channels: int, config: DiffusionConfig) -> tuple[Tensor, Tensor | float]:
    """A network's output as (prediction, variance mix); a learned mix comes as further channels in -1…1."""
    if config.variance == "learned_range":
        prediction, position = output[:, :n_channels], output[:, n_channels:]
        return prediction, (position + 1) / 2
    return output, 1.0 if config.variance == "fixed_large" else 0.0


def x0_and_eps(
    prediction: Tensor, x: Tensor, schedule: Schedule, t: int, parameterisation: Parameterisation
) -> tuple[Tensor, Tensor]:
    """The clean picture and the noise that a prediction at timestep t means."""
    signal, noise = schedule.signal(t), schedule.noise(t)
    match parameterisation:
        case "eps":
            return x * (1 / signal) - prediction * (noise / signal), prediction
        case "x0":
            return prediction, (x - signal * prediction) / noise
        case "v":  # Salimans and Ho 2022, appendix D
            return signal * x - noise * prediction, noise * x + signal * prediction


def eps_from_x0(x: Tensor, x0: Tensor, schedule: Schedule, t: int) -> Tensor:
    """The noise that goes with a (changed) clean picture."""
    return (x * (1 / schedule.signal(t)) - x0) / (schedule.noise(t) / schedule.signal(t))


def v_of(prediction: Prediction, schedule: Schedule, t: int) -> Tensor:
    """v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0: of the picture's size at every timestep."""
    return schedule.signal(t) * prediction.eps - schedule.noise(t) * prediction.x0
