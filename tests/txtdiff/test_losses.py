"""Losses: to the parent project's numbers, and right for each parameterisation."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from fork_process import SCHEDULE, VALUES, analytic_network
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from txtdiff.diffusion.config import DiffusionConfig, NoiseConditioning, Parameterisation
from txtdiff.diffusion.losses import (
    LossTerms,
    add_noise,
    min_snr_weight,
    sample_timesteps,
    timesteps_at,
    training_losses,
)
from txtdiff.diffusion.variational import gaussian_kl, grey_level_nll, prior_term

X0 = VALUES["noise"].clamp(-1, 1)
T = torch.tensor([0, 500])
NOISE = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(9))

FORK_LOSSES: dict[str, dict[str, Any]] = {
    "loss_mse": {},
    "loss_rescaled": {},
    "loss_rescaled_ratio100": {"vb_weight": 10.0},  # T / vb_loss_ratio = 1000 / 100
    "loss_v": {"loss": "v"},
    "loss_balanced": {"loss": "balanced"},
    "loss_snrp1": {"loss": "snr_plus_one"},
    "loss_kl": {"loss": "kl"},
}


@pytest.mark.parametrize("name", FORK_LOSSES)
def test_losses_are_those_of_the_parent_project(name: str) -> None:
    terms = training_losses(analytic_network, X0, T, NOISE, {}, DiffusionConfig(**FORK_LOSSES[name]))
    compared = [key for key in VALUES if key.startswith(f"{name}/")]
    assert compared
    for key in compared:
        torch.testing.assert_close(getattr(terms, key.split("/")[1]), VALUES[key], rtol=2e-6, atol=2e-5)


def losses_of(x0_error: Tensor, t: Tensor, **settings: Any) -> LossTerms:
    """The losses of a network whose x0 is wrong by `x0_error`, whatever it parameterises."""
    config = DiffusionConfig(variance="fixed_small", **settings)
    alpha_bar = SCHEDULE.at(t)
    signal, deviation = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    x0, noise = X0.double(), NOISE.double()
    wrong = x0 + x0_error

    def network(x: Tensor, timesteps: Tensor) -> Tensor:
        eps = (x - signal * wrong) / deviation
        return {"x0": wrong, "eps": eps, "v": signal * eps - deviation * wrong}[config.parameterisation]

    return training_losses(network, x0, t, noise, {}, config)


@pytest.mark.parametrize("parameterisation", ["eps", "x0", "v"])
@pytest.mark.parametrize("gamma", [0.3, 5.0])
def test_min_snr_weights_the_x0_error_alike_in_every_parameterisation(
    parameterisation: Parameterisation, gamma: float
) -> None:
    # Hang et al. 2023: whatever is predicted, the x0 error counts min(snr, gamma) times.
    t = torch.tensor([100, 700])
    error = torch.linspace(-1, 1, 96, dtype=torch.float64).view(2, 3, 4, 4)
    loss = losses_of(error, t, parameterisation=parameterisation, min_snr_gamma=gamma).loss
    alpha_bar = SCHEDULE.at(t).flatten()
    snr = alpha_bar / (1 - alpha_bar)
    expected = snr.clamp(max=gamma) * error.square().flatten(1).mean(1)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-4, atol=1e-6)


def test_min_snr_formulas_by_hand() -> None:
    alpha_bar = torch.tensor([0.9, 0.2], dtype=torch.float64)  # snr 9 and 0.25
    weights = {
        name: min_snr_weight(alpha_bar, DiffusionConfig(parameterisation=name, min_snr_gamma=5)).tolist()
        for name in ("x0", "eps", "v")
    }
    assert weights["x0"] == pytest.approx([5, 0.25])
    assert weights["eps"] == pytest.approx([5 / 9, 1])
    assert weights["v"] == pytest.approx([5 / 10, 0.25 / 1.25])


@pytest.mark.parametrize("loss", ["v", "balanced", "snr_plus_one"])
def test_named_losses_do_not_depend_on_the_parameterisation(loss: str) -> None:
    t = torch.tensor([30, 600])
    error = torch.linspace(-0.5, 1, 96, dtype=torch.float64).view(2, 3, 4, 4)
    eps, x0, v = (losses_of(error, t, loss=loss, parameterisation=name).loss for name in ("eps", "x0", "v"))
    torch.testing.assert_close(eps, x0, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(v, x0, rtol=1e-3, atol=1e-6)


def test_a_perfect_network_has_no_loss() -> None:
    terms = losses_of(torch.zeros_like(X0), T, parameterisation="v")
    assert terms.loss.abs().max() < 1e-12
    assert terms.vb is None


def test_the_bound_teaches_the_variance_and_leaves_the_mean_alone() -> None:
    weight = torch.tensor([0.5, 0.1], requires_grad=True)

    def network(x: Tensor, timesteps: Tensor) -> Tensor:
        return torch.cat([weight[0] * x, weight[1] * x], dim=1)

    t = torch.tensor([0, 500])
    terms = training_losses(network, X0, t, NOISE, {}, DiffusionConfig())
    assert terms.vb is not None
    (of_bound,) = torch.autograd.grad(terms.vb.sum(), weight, retain_graph=True)
    (of_error,) = torch.autograd.grad(terms.mse.sum(), weight)
    assert of_bound[0] == 0
    assert of_bound[1] != 0
    assert of_error[0] != 0
    assert of_error[1] == 0


@pytest.mark.parametrize("loss", ["mse", "v", "balanced", "snr_plus_one", "kl"])
@pytest.mark.parametrize("parameterisation", ["eps", "x0", "v"])
def test_gradients_are_finite_at_every_timestep(loss: str, parameterisation: Parameterisation) -> None:
    weight = torch.tensor(0.3, requires_grad=True)
    x0, t = X0[:1].expand(7, -1, -1, -1), torch.tensor([0, 1, 10, 500, 990, 998, 999])
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))

    def network(x: Tensor, timesteps: Tensor) -> Tensor:
        return torch.cat([weight * x, weight * x], dim=1)

    config = DiffusionConfig(loss=loss, parameterisation=parameterisation)
    (gradient,) = torch.autograd.grad(training_losses(network, x0, t, noise, {}, config).loss.sum(), weight)
    assert gradient.isfinite()


def test_network_sees_scaled_timesteps_when_told() -> None:
    seen: list[Tensor] = []

    def network(x: Tensor, timesteps: Tensor) -> Tensor:
        seen.append(timesteps)
        return torch.cat([x, x], dim=1)

    t = torch.tensor([0, 40])
    for rescale in (False, True):
        config = DiffusionConfig(n_steps=100, rescale_timesteps=rescale)
        training_losses(network, X0, t, NOISE, {}, config)
    assert seen[0].tolist() == [0, 40]
    assert seen[1].tolist() == [0.0, 400.0]


def test_add_noise_keeps_the_variance() -> None:
    noise = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    x0 = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    x_t = add_noise(x0, noise, torch.tensor([100, 900]), SCHEDULE)
    assert x_t.std(dim=(1, 2, 3)).tolist() == pytest.approx([1, 1], abs=0.02)


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=20), st.integers(2, 2000))
def test_timesteps_lie_in_the_schedule(u: list[float], n_steps: int) -> None:
    for sampling in ("uniform", "logit_normal"):
        config = DiffusionConfig(n_steps=n_steps, timestep_sampling=sampling)
        t = timesteps_at(torch.tensor(u, dtype=torch.float64), config)
        assert t.min() >= 0
        assert t.max() < n_steps


def test_uniform_and_logit_normal_timesteps_have_their_distribution() -> None:
    generator = torch.Generator().manual_seed(0)
    uniform = sample_timesteps(20_000, DiffusionConfig(), generator).float() / 1000
    assert uniform.mean() == pytest.approx(0.5, abs=0.01)
    assert uniform.std() == pytest.approx(math.sqrt(1 / 12), abs=0.01)
    config = DiffusionConfig(timestep_sampling="logit_normal")
    middle = sample_timesteps(20_000, config, generator).double()
    logit = ((middle + 0.5) / 1000).logit()
    assert (logit.mean().item(), logit.std().item()) == pytest.approx((0, 1), abs=0.03)


def test_kl_is_that_of_torch() -> None:
    mean1, log1, mean2, log2 = torch.randn(4, 50, generator=torch.Generator().manual_seed(3))
    first = torch.distributions.Normal(mean1, (log1 / 2).exp())
    second = torch.distributions.Normal(mean2, (log2 / 2).exp())
    expected = torch.distributions.kl_divergence(first, second)
    torch.testing.assert_close(gaussian_kl(mean1, log1, mean2, log2), expected, rtol=1e-4, atol=1e-5)


@given(st.floats(-1.2, 1.2), st.floats(-3, 1))
def test_probabilities_of_the_grey_levels_add_up_to_one(mean: float, log_deviation: float) -> None:
    levels = torch.linspace(-1, 1, 256, dtype=torch.float64)
    nll = grey_level_nll(levels, torch.tensor(mean), torch.tensor(log_deviation))
    assert (-nll).exp().sum().item() == pytest.approx(1, abs=1e-6)


def test_the_cosine_prior_holds_nothing_of_the_picture() -> None:
    assert prior_term(X0, SCHEDULE).abs().max() < 1e-6


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "v", "min_snr_gamma": 5},
        {"loss": "kl", "vb_weight": 2},
        {"variance": "fixed_small", "vb_weight": 0.5},
        {"n_steps": 1},
        {"no_such": 1},
    ],
)
def test_settings_without_effect_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DiffusionConfig(**settings)


def test_noise_levels_stay_within_their_schedule() -> None:
    assert NoiseConditioning(max_step=300).n_levels == 300
    assert NoiseConditioning(n_steps=50).n_levels == 50
    with pytest.raises(ValidationError, match="beyond"):
        NoiseConditioning(n_steps=50, max_step=51)
