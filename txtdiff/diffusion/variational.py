"""The variational bound on the likelihood, term by term, in bits per dimension (Ho et al. 2020, eq. 5)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from txtdiff.diffusion.schedule import Schedule

__all__ = ["bound_term", "gaussian_kl", "grey_level_nll", "prior_term"]

HALF_GREY_LEVEL = 1 / 255  # 256 levels over -1…1 lie 2/255 apart


def bound_term(
    x0_hat: Tensor, mix: Tensor | float, x0: Tensor, x_t: Tensor, t: Tensor, schedule: Schedule
) -> Tensor:
    """The bound's term of timestep t: KL from the true to the predicted step, at t = 0 the pixels' NLL.

    Args:
        x0_hat: (B, C, H, W) predicted pictures.
        mix: where the predicted log variance lies between its bounds, see `Prediction.variance_mix`.
        x0, x_t: (B, C, H, W) pictures and their noisy versions.
        t: (B,) int64.
        schedule: of the training.

    Returns:
        (B,) bits per dimension.
    """
    ab, ab_next = schedule.at(t), schedule.at(t - 1)
    beta = 1 - ab / ab_next
    of_x0 = (beta * ab_next.sqrt() / (1 - ab)).to(x0.dtype)
    of_x = ((1 - ab_next) * (ab / ab_next).sqrt() / (1 - ab)).to(x0.dtype)
    # The posterior's variance is 0 at t = 0; that of t = 1 stands in, as in Nichol and Dhariwal 2021.
    lower = torch.log(
        (beta * (1 - ab_next) / (1 - ab)).where(t.view(-1, 1, 1, 1) > 0, _second_variance(schedule))
    )
    upper = torch.log(beta)
    if isinstance(mix, float):
        # fixed_large takes the stand-in at t = 0 too: beta there would be narrower than a grey level.
        mix = torch.full_like(beta, mix).where(t.view(-1, 1, 1, 1) > 0, 0)
    log_variance = (mix * upper.to(mix.dtype) + (1 - mix) * lower.to(mix.dtype)).to(x0.dtype)
    mean_hat = of_x0 * x0_hat + of_x * x_t
    kl = gaussian_kl(of_x0 * x0 + of_x * x_t, lower.to(x0.dtype), mean_hat, log_variance)
    nll = grey_level_nll(x0, mean_hat, log_variance / 2)
    return torch.where(t == 0, _bits(nll), _bits(kl))


def prior_term(x0: Tensor, schedule: Schedule) -> Tensor:
    """KL from q(x_T | x0) to N(0, 1), (B,) bits per dimension: what is left of it at the last step."""
    ab = schedule.alpha_bar_at(schedule.n_steps - 1)
    mean = math.sqrt(ab) * x0
    return _bits(
        gaussian_kl(
            mean, torch.full_like(mean, math.log(1 - ab)), torch.zeros_like(mean), torch.zeros_like(mean)
        )
    )


def gaussian_kl(mean1: Tensor, log_variance1: Tensor, mean2: Tensor, log_variance2: Tensor) -> Tensor:
    """KL of two normal distributions in nats, elementwise."""
    ratio = (log_variance1 - log_variance2).exp()
    offset = (mean1 - mean2).square() * (-log_variance2).exp()
    return 0.5 * (log_variance2 - log_variance1 + ratio + offset - 1)


def grey_level_nll(x: Tensor, mean: Tensor, log_deviation: Tensor) -> Tensor:
    """-log of the probability that a normal variable rounds to x's grey level, in nats, elementwise.

    The outermost levels take the whole tail (Ho et al. 2020, equation 13). The normal CDF is its tanh
    approximation, as in the parent project, so that losses compare.
    """
    scale = (-log_deviation).exp()
    above = _normal_cdf(scale * (x - mean + HALF_GREY_LEVEL))
    below = _normal_cdf(scale * (x - mean - HALF_GREY_LEVEL))
    probability = torch.where(x < -0.999, above, torch.where(x > 0.999, 1 - below, above - below))
    return -probability.clamp(min=1e-12).log()


def _normal_cdf(z: Tensor) -> Tensor:
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))


def _bits(nats: Tensor) -> Tensor:
    """Mean over all but the first dimension, in bits."""
    return nats.flatten(1).mean(1) / math.log(2)


def _second_variance(schedule: Schedule) -> float:
    ab0, ab1 = schedule.alpha_bar_at(0), schedule.alpha_bar_at(1)
    return (1 - ab1 / ab0) * (1 - ab0) / (1 - ab1)
