"""Guidance and thresholding as wrappers of a Denoiser."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fork_process import CONFIG, SCHEDULE, VALUES, analytic_denoiser, analytic_network, clamped
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from datatools.errors import InputError
from txtdiff.diffusion.denoiser import Denoiser, Prediction, network_denoiser
from txtdiff.diffusion.guidance import (
    Given,
    autoguided,
    guidance_terms,
    guided,
    guided_stacked,
    rescaled,
    weighted,
    within,
)
from txtdiff.diffusion.steps import parse_spacing
from txtdiff.diffusion.thresholding import dynamic_threshold, thresholded
from txtdiff.sampler_settings import SamplerSettings, parse_sampler, run_sampler

X = VALUES["noise"]
SCALES = st.floats(-2, 10)
NOTHING, CAPTION, ALL = Given(False, False), Given(False, True), Given(True, True)


def fork_guided(uncond: float = 0.0) -> Denoiser:
    """The parent project's w = 2, which is our scale 3; c is 1 with conditioning and 0 without."""
    return guided([analytic_denoiser(uncond), analytic_denoiser(1.0)], weighted([1 - 3, 3]))


def run_as_fork(sampler: str, denoiser: Denoiser) -> Tensor:
    torch.manual_seed(7)
    settings = SamplerSettings(sampler=sampler, fork_spacing="20")
    return run_sampler(settings, clamped(denoiser), X, SCHEDULE, lambda: torch.randn(2, 3, 4, 4))


@pytest.mark.parametrize(
    ("sampler", "key"),
    [("ddpm", "p_sample_loop"), ("ddim", "ddim_sample_loop"), ("plms", "plms_sample_loop")],
)
def test_guided_samplers_give_the_numbers_of_the_parent_project(sampler: str, key: str) -> None:
    sampled = run_as_fork(sampler, fork_guided())
    torch.testing.assert_close(sampled, VALUES[f"{key} guided 2|20"], rtol=0, atol=2e-5)


def test_guidance_in_an_interval_gives_the_number_of_the_parent_project() -> None:
    tenth = parse_spacing(1000, "20")[10]  # the fork's guidance_after_step 10: kept timesteps 0 to 9
    denoiser = within((0, (tenth - 1) / 999), fork_guided(), analytic_denoiser(1.0), SCHEDULE)
    sampled = run_as_fork("ddpm", denoiser)
    torch.testing.assert_close(sampled, VALUES["p guided after 10|20"], rtol=0, atol=2e-5)


def test_steps_that_drop_less_give_the_number_of_the_parent_project() -> None:
    kept = parse_spacing(1000, "20")
    strong, weak = fork_guided(), fork_guided(uncond=0.5)

    def denoise(x: Tensor, t: int) -> Prediction:
        return (weak if t in (kept[3], kept[7]) else strong)(x, t)

    sampled = run_as_fork("ddim", denoise)
    torch.testing.assert_close(sampled, VALUES["ddim guided drop {3,7}|20"], rtol=0, atol=2e-5)


@given(SCALES, SCALES)
def test_guidance_follows_its_formula_in_every_combination(scale_txt: float, scale_capt: float) -> None:
    values = {NOTHING: 0.7, CAPTION: -1.3, ALL: 2.1}
    terms = guidance_terms(scale_txt, scale_capt, has_txt=True, has_capt=True)
    sum_of_terms = sum(weight * values[seen] for seen, weight in terms.items())
    formula = (
        values[NOTHING]
        + scale_capt * (values[CAPTION] - values[NOTHING])
        + scale_txt * (values[ALL] - values[CAPTION])
    )
    assert sum_of_terms == pytest.approx(formula, abs=1e-9)
    assert sum(terms.values()) == pytest.approx(1)


def test_guidance_evaluates_no_more_than_it_needs() -> None:
    assert guidance_terms(1, 1, has_txt=True, has_capt=True) == {ALL: 1}
    assert guidance_terms(3, 3, has_txt=True, has_capt=True) == {NOTHING: -2, ALL: 3}
    assert guidance_terms(3, 1, has_txt=True, has_capt=True) == {CAPTION: -2, ALL: 3}
    assert set(guidance_terms(3, 2, has_txt=True, has_capt=True)) == {NOTHING, CAPTION, ALL}
    assert guidance_terms(3, 3, has_txt=True, has_capt=False) == {CAPTION: -2, ALL: 3}
    assert guidance_terms(3, 3, has_txt=False, has_capt=True) == {NOTHING: -2, ALL: 3}
    assert guidance_terms(1, 1, has_txt=False, has_capt=False) == {ALL: 1}


@given(st.floats(-3, 8), st.integers(1, 998))
def test_guidance_is_the_same_in_x0_and_eps(scale: float, t: int) -> None:
    x0, eps, _ = guided([analytic_denoiser(0.0), analytic_denoiser(1.0)], weighted([1 - scale, scale]))(X, t)
    again = SCHEDULE.signal(t) * x0 + SCHEDULE.noise(t) * eps
    torch.testing.assert_close(again, X, rtol=0, atol=2e-4)


def test_one_pass_with_both_conditionings_is_two_passes() -> None:
    calls: list[int] = []

    def network(x: Tensor, timesteps: Tensor, c: Tensor) -> Tensor:
        calls.append(len(x))
        rows = (tensor.repeat(2, *[1] * (tensor.ndim - 1)) for tensor in (x, timesteps))
        return analytic_network(*rows, c.view(-1, 1, 1, 1))

    stacked_c = torch.tensor([0.0, 0.0, 1.0, 1.0])
    stacked = guided_stacked(network_denoiser(network, CONFIG, {"c": stacked_c}), 2, weighted([-2, 3]))
    for one, other in zip(stacked(X, 300), fork_guided()(X, 300), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    assert calls == [2]


def test_rescaling_brings_back_the_contrast() -> None:
    def contrast(prediction: Prediction) -> Tensor:
        v = SCHEDULE.signal(400) * prediction.eps - SCHEDULE.noise(400) * prediction.x0
        return v.flatten(1).std(1)

    denoisers = [analytic_denoiser(0.0), analytic_denoiser(1.0)]
    plain = contrast(denoisers[1](X, 400))
    strong = weighted([-4.0, 5.0])
    full = guided(denoisers, rescaled(strong, 1.0, SCHEDULE))(X, 400)
    torch.testing.assert_close(contrast(full), plain, rtol=1e-4, atol=0)
    none = guided(denoisers, rescaled(strong, 0.0, SCHEDULE))(X, 400)
    torch.testing.assert_close(none.x0, guided(denoisers, strong)(X, 400).x0, rtol=1e-3, atol=1e-4)


def test_autoguidance_leads_away_from_the_weaker_network() -> None:
    good, weak = analytic_denoiser(1.0), analytic_denoiser(0.4)
    led = autoguided(good, weak, 2.0)(X, 500)
    torch.testing.assert_close(led.eps, 2 * good(X, 500).eps - weak(X, 500).eps)
    assert torch.equal(autoguided(good, weak, 1.0)(X, 500).eps, good(X, 500).eps)


@given(st.floats(0.1, 1), st.floats(0.1, 50))
def test_dynamic_threshold_keeps_pictures_in_range(quantile: float, scale: float) -> None:
    x0 = X * scale
    limited = dynamic_threshold(x0, quantile)
    assert limited.abs().max() <= 1
    inside = x0.abs().flatten(1).quantile(quantile, dim=1) <= 1
    torch.testing.assert_close(limited[inside], x0[inside].clamp(-1, 1))


def test_dynamic_threshold_at_the_largest_pixel_only_scales() -> None:
    x0 = X * 5
    largest = x0.abs().amax((1, 2, 3), keepdim=True)
    torch.testing.assert_close(dynamic_threshold(x0, 1.0), x0 / largest)


@given(st.integers(0, 999), st.sampled_from([None, 0.9, 0.995]))
def test_thresholded_eps_goes_with_the_thresholded_picture(t: int, quantile: float | None) -> None:
    prediction = thresholded(analytic_denoiser(), SCHEDULE, quantile)(X, t)
    assert prediction.x0.abs().max() <= 1
    again = SCHEDULE.signal(t) * prediction.x0 + SCHEDULE.noise(t) * prediction.eps
    torch.testing.assert_close(again, X, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"sampler": "plms", "eta": 0.5},
        {"sampler": "ddim", "n_steps": 20, "fork_spacing": "20"},
        {"sampler": "heun", "fork_spacing": "20"},
        {"clamp": False, "dynamic_threshold": 0.9},
        {"guidance_interval": (0.2, 0.8)},
        {"guidance_rescale": 0.5},
        {"guidance_txt": 2, "guidance_interval": (0.8, 0.2)},
        {"sampler": "euler"},
    ],
)
def test_settings_without_effect_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SamplerSettings(**settings)


def test_samplers_are_named_with_their_steps() -> None:
    assert parse_sampler("plms:20") == {"sampler": "plms", "n_steps": 20}
    assert parse_sampler("ddim@10,20") == {"sampler": "ddim", "fork_spacing": "10,20"}
    with pytest.raises(InputError, match="Did you mean 'plms'"):
        parse_sampler("plsm:20")
    for text in ("plms", "plms:", "plms:0", "plms:-3", "plms:²", "plms:9999999", ":20"):
        with pytest.raises(InputError):
            parse_sampler(text)
