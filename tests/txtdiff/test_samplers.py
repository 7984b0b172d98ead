"""Samplers: to the parent project's numbers, of their published order, and sane in few steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
import torch
from fork_process import CONFIG, SCHEDULE, VALUES, analytic_denoiser, analytic_network, clamped
from torch import Tensor

from txtdiff.diffusion.config import DiffusionConfig
from txtdiff.diffusion.denoiser import Denoiser, Prediction, network_denoiser
from txtdiff.diffusion.noise import START, STEPS, picture_noise
from txtdiff.diffusion.samplers import (
    DdimSteps,
    PseudoOptions,
    sample_ddim,
    sample_ddpm,
    sample_dpmpp_2m,
    sample_heun,
    sample_plms,
    sample_prk,
    sample_unipc,
)
from txtdiff.diffusion.schedule import CLEAN, Schedule, make_schedule
from txtdiff.diffusion.steps import fork_double_steps, parse_spacing, trailing_steps
from txtdiff.diffusion.thresholding import thresholded
from txtdiff.sampler_settings import SamplerName, SamplerSettings, run_sampler

SPACINGS = ["20", "21", "5,5,10", "ddim25"]


def step_noise(draws: int = 1) -> Callable[[], Tensor]:
    """The noise of the stored values: torch's global generator, of `draws` draws per step the last used."""
    torch.manual_seed(7)

    def draw() -> Tensor:
        return [torch.randn(2, 3, 4, 4) for _ in range(draws)][-1]

    return draw


def run_as_fork(settings: SamplerSettings, denoiser: Denoiser, draws: int = 1) -> Tensor:
    return run_sampler(settings, denoiser, VALUES["noise"], SCHEDULE, step_noise(draws))


def assert_fork_value(picture: Tensor, key: str) -> None:
    # Unclamped pictures reach 500: 2e-5 of what a picture in -1…1 would show.
    torch.testing.assert_close(picture, VALUES[key], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(
    ("sampler", "key"),
    [
        ("ddpm", "p_sample_loop"),
        ("ddim", "ddim_sample_loop"),
        ("prk", "prk_sample_loop"),
        ("plms", "plms_sample_loop"),
    ],
)
def test_samplers_give_the_numbers_of_the_parent_project(sampler: str, key: str, spacing: str) -> None:
    settings = SamplerSettings(sampler=sampler, fork_spacing=spacing)
    assert_fork_value(run_as_fork(settings, clamped(analytic_denoiser())), f"{key}|{spacing}")


def test_ddim_variants_give_the_numbers_of_the_parent_project() -> None:
    ddim = SamplerSettings(sampler="ddim", fork_spacing="20")
    plain = analytic_denoiser()
    noisy = SamplerSettings(sampler="ddim", fork_spacing="20", eta=0.7)
    assert_fork_value(run_as_fork(noisy, clamped(plain)), "ddim eta .7|20")
    assert_fork_value(run_as_fork(ddim, plain), "ddim noclip|20")
    assert_fork_value(run_as_fork(ddim, thresholded(plain, SCHEDULE, 0.9)), "ddim dynthresh .9|20")
    rescaled = DiffusionConfig(rescale_timesteps=True)
    assert_fork_value(
        run_as_fork(ddim, clamped(analytic_denoiser(0.0, rescaled))), "ddim rescale_timesteps|20"
    )
    linear = make_schedule("linear", 1000)
    denoiser = thresholded(analytic_denoiser(0.0, DiffusionConfig(noise_schedule="linear")), linear)
    picture = run_sampler(ddim, denoiser, VALUES["noise"], linear, step_noise())
    assert_fork_value(picture, "ddim linear|20")


def test_pseudo_variants_give_the_numbers_of_the_parent_project() -> None:
    prk = SamplerSettings(sampler="prk", fork_spacing="20", eta=0.7)
    # The fork draws noise in each of the four transfers of a step and uses that of the last.
    assert_fork_value(run_as_fork(prk, clamped(analytic_denoiser()), draws=4), "prk eta .7|20")
    plms = SamplerSettings(sampler="plms", fork_spacing="20", dynamic_threshold=0.9)
    dynamic = thresholded(analytic_denoiser(), SCHEDULE, 0.9)
    assert_fork_value(run_as_fork(plms, dynamic), "plms dynthresh .9|20")


@pytest.mark.parametrize(("eta", "key"), [(0.0, ""), (1.0, " eta1")])
def test_plms_with_ddim_steps_gives_the_number_of_the_parent_project(eta: float, key: str) -> None:
    draw = step_noise()
    per_step = [draw() for _ in range(19)]  # the fork draws at each of its 19 steps
    noise = iter(per_step[:5] + per_step[17:])
    ddim = DdimSteps(first=3, last=3, eta=eta, noise=lambda: next(noise))
    nodes, midpoints = fork_double_steps(parse_spacing(1000, "40"))
    options = PseudoOptions(midpoints=midpoints, min_signal=0, ddim=ddim)
    schedule = SCHEDULE.in_float32()
    sampled = sample_plms(clamped(analytic_denoiser()), VALUES["noise"], schedule, nodes, options)
    assert_fork_value(sampled, f"plms first3 last3{key}|40")
    assert next(noise, None) is None


# An analytic process: pictures normally distributed with this mean and deviation, and its exact Denoiser.
MEAN, DEVIATION = 0.3, 0.2
FINE = Schedule(np.cos((np.arange(100_000) + 1) / 100_000 * 0.97 * math.pi / 2 + 0.01) ** 2)


def gaussian_denoiser(schedule: Schedule) -> Denoiser:
    def denoise(x: Tensor, t: int) -> Prediction:
        signal, ab = schedule.signal(t), schedule.alpha_bar_at(t)
        gain = DEVIATION**2 * signal / (ab * DEVIATION**2 + 1 - ab)
        x0 = MEAN + gain * (x - signal * MEAN)
        return Prediction(x0, (x - signal * x0) / schedule.noise(t), 0.0)

    return denoise


def exact_flow(x: Tensor, schedule: Schedule, t: int, s: int) -> Tensor:
    """Where the probability flow takes x_t at timestep s: the point at the same quantile."""

    def deviation(at: int) -> float:
        ab = schedule.alpha_bar_at(at)
        return math.sqrt(ab * DEVIATION**2 + 1 - ab)

    standard = (x - schedule.signal(t) * MEAN) / deviation(t)
    return schedule.signal(s) * MEAN + deviation(s) * standard


FREE = PseudoOptions(limit=None)
SOLVERS: dict[str, Callable[..., Tensor]] = {
    "ddim": sample_ddim,
    "heun": sample_heun,
    "dpmpp_2m": sample_dpmpp_2m,
    "unipc": sample_unipc,
    "prk": lambda *args: sample_prk(*args, FREE),
    "plms": lambda *args: sample_plms(*args, FREE),
}


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("ddim", 0.9, 1.1),
        ("heun", 1.8, 2.2),
        ("dpmpp_2m", 1.7, 2.3),
        ("unipc", 2.3, 3.3),  # predictor of order 2, corrected: 3 in the limit
        ("prk", 1.9, 2.8),  # fourth-order weights on a second-order transfer (Liu et al. 2022, section 3.4)
        ("plms", 1.7, 3.3),
    ],
)
def test_order_of_convergence_on_a_gaussian(name: str, low: float, high: float) -> None:
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    first, last = FINE.n_steps - 1, 2000
    errors = []
    sizes = [32, 64, 128]
    for n in sizes:
        steps = tuple(round(t) for t in np.linspace(first, last, n + 1))
        sampled = SOLVERS[name](gaussian_denoiser(FINE), x, FINE, steps)
        errors.append((sampled - exact_flow(x, FINE, first, last)).abs().max().item())
    slope = -np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert low < slope < high, f"{name}: order {slope:.2f}, errors {errors}"


def test_ddpm_samples_the_variance_of_a_gaussian() -> None:
    """With the exact Denoiser and many steps ancestral sampling draws from the distribution itself."""
    noise = picture_noise(range(4), (1, 64, 64), stage=0, purpose=STEPS, device=torch.device("cpu"))
    steps = trailing_steps(1000, 1000)
    sampled = sample_ddpm(gaussian_denoiser(SCHEDULE), noise(), SCHEDULE, steps, noise)
    assert sampled.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert sampled.std().item() == pytest.approx(DEVIATION, rel=0.03)


def test_ddim_at_eta_one_is_ancestral_sampling() -> None:
    steps = trailing_steps(1000, 10)
    denoiser = gaussian_denoiser(SCHEDULE)
    ddim = sample_ddim(denoiser, VALUES["noise"], SCHEDULE, steps, step_noise(), eta=1.0)
    ddpm = sample_ddpm(denoiser, VALUES["noise"], SCHEDULE, steps, step_noise())  # mix 0: the lower variance
    torch.testing.assert_close(ddim, ddpm, rtol=0, atol=1e-4)


def test_eta_without_noise_is_an_error() -> None:
    for sample in (sample_ddim, sample_prk):
        with pytest.raises(ValueError, match="needs a source of noise"):
            sample(analytic_denoiser(), VALUES["noise"], SCHEDULE, (999, 0), eta=0.5)


def test_dpmpp_2m_is_the_published_recurrence() -> None:
    """Against the sigma form in which k-diffusion writes it, on x / signal with sigma = noise / signal."""
    denoiser, steps = gaussian_denoiser(FINE), tuple(range(90_000, 9_999, -10_000))
    x = torch.linspace(-2, 2, 64, dtype=torch.float64).view(1, 1, 8, 8)
    sampled = sample_dpmpp_2m(denoiser, x, FINE, steps)
    sigma = {t: FINE.noise(t) / FINE.signal(t) for t in steps}
    z, old = x / FINE.signal(steps[0]), None
    for i, (t, s) in enumerate(pairwise(steps)):
        denoised = denoiser(z * FINE.signal(t), t).x0
        h = math.log(sigma[t]) - math.log(sigma[s])
        mixed = denoised
        if old is not None:
            r = (math.log(sigma[steps[i - 1]]) - math.log(sigma[t])) / h
            mixed = (1 + 1 / (2 * r)) * denoised - 1 / (2 * r) * old
        z = (sigma[s] / sigma[t]) * z - math.expm1(-h) * mixed
        old = denoised
    torch.testing.assert_close(sampled, z * FINE.signal(steps[-1]), rtol=1e-9, atol=1e-9)


def mixture_denoiser(parameterisation: str) -> Denoiser:
    """The exact Denoiser of pictures that are all -0.8 or all 0.6, through a network of that output."""
    config = DiffusionConfig(parameterisation=parameterisation, variance="fixed_small")

    def network(x: Tensor, timesteps: Tensor) -> Tensor:
        signal, noise = SCHEDULE.signal(int(timesteps[0])), SCHEDULE.noise(int(timesteps[0]))
        wide = x.double()
        modes = torch.tensor([-0.8, 0.6], dtype=torch.float64)
        distances = torch.stack([((wide - signal * mode) ** 2).sum((1, 2, 3)) for mode in modes])
        share = torch.softmax(-distances / (2 * noise**2), dim=0)
        x0 = (share * modes[:, None]).sum(0).view(-1, 1, 1, 1).expand_as(wide)
        eps = (wide - signal * x0) / noise
        return {"x0": x0, "eps": eps, "v": signal * eps - noise * x0}[parameterisation].float()

    return thresholded(network_denoiser(network, config, {}), SCHEDULE)


@pytest.mark.parametrize("parameterisation", ["eps", "x0", "v"])
@pytest.mark.parametrize("name", get_args(SamplerName))
def test_few_steps_from_pure_noise_reach_the_data(name: SamplerName, parameterisation: str) -> None:
    """8 steps from the last cosine timestep, alpha_bar 2.4e-9: finite, and at one of the two modes."""
    cpu = torch.device("cpu")
    start = picture_noise(range(32), (1, 4, 4), stage=0, purpose=START, device=cpu)
    later = picture_noise(range(32), (1, 4, 4), stage=0, purpose=STEPS, device=cpu)
    denoiser = mixture_denoiser(parameterisation)
    settings = SamplerSettings(sampler=name, n_steps=8)
    sampled = run_sampler(settings, denoiser, start(), SCHEDULE, later)
    assert sampled.isfinite().all()
    distance = torch.minimum((sampled + 0.8).abs(), (sampled - 0.6).abs()).amax((1, 2, 3))
    # PLMS extrapolates its last step from steps twice and thrice as far back.
    assert (distance < (0.12 if name == "plms" else 0.05)).float().mean() > 0.9
    assert (sampled.mean((1, 2, 3)) > 0).float().mean().item() == pytest.approx(0.5, abs=0.35)


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_evaluations_per_step(name: SamplerName) -> None:
    calls: list[int] = []

    def network(x: Tensor, timesteps: Tensor) -> Tensor:
        calls.append(int(timesteps[0]))
        return analytic_network(x, timesteps)

    denoiser = clamped(network_denoiser(network, CONFIG, {}))
    run_sampler(SamplerSettings(sampler=name, n_steps=10), denoiser, VALUES["noise"], SCHEDULE, step_noise())
    # The first step starts where there is no signal and the last ends where there is no noise: both are
    # cheaper in prk (1 + 8 * 4 + 2) and plms (1 + 3 * 4 + 6), and the last one in heun (9 * 2 + 1).
    expected = {"ddpm": 10, "ddim": 10, "dpmpp_2m": 10, "unipc": 10, "heun": 19, "prk": 35, "plms": 19}
    assert len(calls) == expected[name]
    assert CLEAN not in calls
    assert calls[0] == 999


def test_one_step_is_the_predicted_picture() -> None:
    denoiser = clamped(analytic_denoiser())
    x0 = denoiser(VALUES["noise"], 999).x0
    for name in get_args(SamplerName):
        settings = SamplerSettings(sampler=name, n_steps=1)
        sampled = run_sampler(settings, denoiser, VALUES["noise"], SCHEDULE, step_noise())
        torch.testing.assert_close(sampled, x0, rtol=0, atol=1e-6, msg=name)
