"""What training minimises: an error of the prediction, and the variational bound for a learned variance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from txtdiff.diffusion.config import DiffusionConfig
from txtdiff.diffusion.denoiser import Network, network_timesteps, split_output
from txtdiff.diffusion.schedule import Schedule, make_schedule
from txtdiff.diffusion.variational import bound_term

__all__ = ["LossTerms", "add_noise", "min_snr_weight", "sample_timesteps", "timesteps_at", "training_losses"]


class LossTerms(NamedTuple):
    """Losses of each picture, (B,) each.

    loss: what to minimise. mse: its error term, weighted as in the loss. vb: the variational bound of this
    timestep in bits per dimension, weighted as in the loss; None where it plays no part. characters: the
    cross-entropy of the characters' names in nats per cell, not weighted; None where it plays no part.
    """

    loss: Tensor
    mse: Tensor
    vb: Tensor | None
    characters: Tensor | None = None


def training_losses(
    network: Network, x0: Tensor, t: Tensor, noise: Tensor, cond: Mapping[str, Any], config: DiffusionConfig
) -> LossTerms:
    """The losses of a batch, each picture at its own timestep.

    Args:
        network: called once, with the noisy pictures.
        x0: (B, C, H, W) pictures in -1…1.
        t: (B,) int64 timesteps.
        noise: (B, C, H, W) standard normal.
        cond: keyword arguments of the network.
        config: the process and the loss.
    """
    schedule = make_schedule(config.noise_schedule, config.n_steps)
    x_t = add_noise(x0, noise, t, schedule)
    output = network(x_t, network_timesteps(t, config), **cond).float()
    prediction, mix = split_output(output, x0.shape[1], config)
    if config.loss == "kl":
        # All T timesteps together make the bound, so one drawn timestep stands for T of them.
        vb = bound_term(_x0_of(prediction, x_t, t, config), mix, x0, x_t, t, schedule) * config.n_steps
        return LossTerms(vb, _error(prediction, x0, x_t, noise, t, config), vb)
    mse = _error(prediction, x0, x_t, noise, t, config)
    if config.variance != "learned_range":
        return LossTerms(mse, mse, None)
    # The bound teaches the variance alone: the mean is detached (Nichol and Dhariwal 2021, section 3.1).
    vb = bound_term(_x0_of(prediction.detach(), x_t, t, config), mix, x0, x_t, t, schedule)
    vb = vb * config.vb_weight
    return LossTerms(mse + vb, mse, vb)


def add_noise(x0: Tensor, noise: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
    """x_t of each picture at its own timestep (Ho et al. 2020, equation 4)."""
    signal, deviation = _signal_and_noise(schedule, t, x0.dtype)
    return signal * x0 + deviation * noise


def timesteps_at(u: Tensor, config: DiffusionConfig) -> Tensor:
    """Timesteps from uniform numbers: the inverse of the distribution that training draws from.

    Args:
        u: (B,) float in [0, 1), for instance a function of seed and position.
        config: n_steps and timestep_sampling.

    Returns:
        (B,) int64.
    """
    if config.timestep_sampling == "logit_normal":  # Esser et al. 2024, section 3.1, with mean 0 and scale 1
        u = torch.special.ndtri(u.double().clamp(1e-9, 1 - 1e-9)).sigmoid()
    return (u.double() * config.n_steps).long().clamp(max=config.n_steps - 1)


def sample_timesteps(n: int, config: DiffusionConfig, generator: torch.Generator | None = None) -> Tensor:
    """n timesteps as training draws them, (n,) int64 on the CPU."""
    return timesteps_at(torch.rand(n, generator=generator, dtype=torch.float64), config)


def min_snr_weight(alpha_bar: Tensor, config: DiffusionConfig) -> Tensor:
    """The weight of min-SNR for an error in what the network predicts (Hang et al. 2023, section 3.4).

    An error in x0 is weighted min(snr, gamma). An error in eps is snr times the same error in x0, one in v
    snr + 1 times: so their weights are divided by that.
    """
    snr = alpha_bar / (1 - alpha_bar)
    cut = snr.clamp(max=config.min_snr_gamma)
    return {"x0": cut, "eps": cut / snr, "v": cut / (snr + 1)}[config.parameterisation]


def _error(
    prediction: Tensor, x0: Tensor, x_t: Tensor, noise: Tensor, t: Tensor, config: DiffusionConfig
) -> Tensor:
    """The weighted error of each picture, (B,)."""
    schedule = make_schedule(config.noise_schedule, config.n_steps)
    signal, deviation = _signal_and_noise(schedule, t, x0.dtype)
    v = signal * noise - deviation * x0
    if config.loss in ("mse", "kl"):
        error = _mean_square(prediction - {"eps": noise, "x0": x0, "v": v}[config.parameterisation])
        if config.min_snr_gamma is None:
            return error
        return error * min_snr_weight(schedule.at(t).flatten(), config).to(error.dtype)
    x0_hat = _x0_of(prediction, x_t, t, config)
    eps_hat = prediction if config.parameterisation == "eps" else (x_t - signal * x0_hat) / deviation
    match config.loss:
        case "v":
            return _mean_square(signal * eps_hat - deviation * x0_hat - v)
        case "balanced":
            return (_mean_square(eps_hat - noise) + _mean_square(x0_hat - x0)) / 2
        case _:  # snr_plus_one
            # An x0 error weighted by snr + 1; cut off at 0.01 and scaled to mean 1, as the fork did.
            weight = (1 - schedule.at(t).flatten()).clamp(min=0.01)
            mean = float(np.maximum(1 - schedule.alpha_bar, 0.01).mean())
            return _mean_square(eps_hat - noise) * (weight / mean).to(x0.dtype)


def _x0_of(prediction: Tensor, x_t: Tensor, t: Tensor, config: DiffusionConfig) -> Tensor:
    """The clean pictures that a prediction means, each picture at its own timestep."""
    schedule = make_schedule(config.noise_schedule, config.n_steps)
    signal, deviation = _signal_and_noise(schedule, t, x_t.dtype)
    match config.parameterisation:
        case "eps":
            return (x_t - deviation * prediction) / signal
        case "x0":
            return prediction
        case "v":
            return signal * x_t - deviation * prediction


def _signal_and_noise(schedule: Schedule, t: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    alpha_bar = schedule.at(t)
    return alpha_bar.sqrt().to(dtype), (1 - alpha_bar).sqrt().to(dtype)


def _mean_square(difference: Tensor) -> Tensor:
    """(B,): the mean over all but the first dimension."""
    return difference.square().flatten(1).mean(1)
