"""Schedules, and the timesteps that samplers visit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fork_process import VALUES
from hypothesis import given
from hypothesis import strategies as st

from datatools.errors import InputError
from txtdiff.diffusion.config import NoiseSchedule
from txtdiff.diffusion.schedule import CLEAN, make_schedule, noise_betas
from txtdiff.diffusion.steps import fork_double_steps, midpoint, parse_spacing, respaced, trailing_steps


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_betas_are_those_of_the_parent_project(kind: NoiseSchedule) -> None:
    np.testing.assert_array_equal(noise_betas(kind, 1000), VALUES[f"betas_{kind}"].numpy())


def test_cosine_schedule_ends_nearly_without_picture() -> None:
    schedule = make_schedule("cosine", 1000)
    assert schedule.alpha_bar_at(0) == pytest.approx(0.99995872, abs=1e-8)
    assert schedule.alpha_bar_at(999) == pytest.approx(2.4288e-9, rel=1e-4)


@given(st.sampled_from(["linear", "cosine"]), st.integers(30, 2000))
def test_alpha_bar_falls_and_stays_between_one_and_zero(kind: NoiseSchedule, n_steps: int) -> None:
    alpha_bar = make_schedule.__wrapped__(kind, n_steps).alpha_bar
    assert alpha_bar.shape == (n_steps,)
    assert (np.diff(alpha_bar) < 0).all()
    assert 0 < alpha_bar[-1] < alpha_bar[0] < 1


def test_cosine_alpha_bar_follows_its_formula_wherever_beta_is_not_cut_off() -> None:
    u = (np.arange(900) + 1) / 1000
    curve = np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(make_schedule("cosine", 1000).alpha_bar[:900], curve, rtol=1e-10)


@given(st.integers(0, 999))
def test_signal_and_noise_share_the_variance(t: int) -> None:
    schedule = make_schedule("linear", 1000)
    assert schedule.signal(t) ** 2 + schedule.noise(t) ** 2 == pytest.approx(1)
    assert schedule.half_log_snr(t) == pytest.approx(math.log(schedule.signal(t) / schedule.noise(t)))


def test_clean_is_the_timestep_after_the_last() -> None:
    schedule = make_schedule("cosine", 50)
    assert (schedule.signal(CLEAN), schedule.noise(CLEAN)) == (1, 0)
    table = schedule.at(torch.tensor([CLEAN, 0, 49])).flatten()
    assert table.tolist() == [1.0, schedule.alpha_bar_at(0), schedule.alpha_bar_at(49)]


@given(st.integers(2, 1500).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))))
def test_trailing_steps_start_at_pure_noise_and_fall_to_clean(sizes: tuple[int, int]) -> None:
    n_train, n_steps = sizes
    steps = trailing_steps(n_train, n_steps)
    assert (steps[0], steps[-1], len(steps)) == (n_train - 1, CLEAN, n_steps + 1)
    strides = -np.diff(steps)
    assert strides.min() >= 1
    assert strides.max() - strides.min() <= 1


def test_trailing_steps_refuse_what_is_not_there() -> None:
    for n_steps in (0, 1001):
        with pytest.raises(InputError, match="cannot be taken"):
            trailing_steps(1000, n_steps)


@given(st.integers(2, 400))
def test_respacing_keeps_both_ends(n_steps: int) -> None:
    kept = parse_spacing(1000, str(n_steps))
    assert (kept[0], kept[-1], len(kept)) == (0, 999, n_steps)
    assert all(np.diff(kept) > 0)


def test_known_step_lists_of_the_parent_project() -> None:
    assert parse_spacing(1000, "50")[:3] == (0, 20, 41)
    assert parse_spacing(1000, "50")[-2:] == (979, 999)
    assert parse_spacing(1000, "ddim50") == tuple(range(0, 1000, 20))
    # 10 * 49.95 is 499.5, but ten times 49.95 added up is a little less.
    assert parse_spacing(1000, "21")[10] == 499
    assert parse_spacing(10, "2,3") == (0, 4, 5, 7, 9)
    assert respaced(10, "2,3") == (9, 7, 5, 4, 0, CLEAN)


@pytest.mark.parametrize("spacing", ["", "fifty", "-3", "1001", "ddim999", "10,,5", "0", "5;5", "ddim"])
def test_unknown_spacings_are_named(spacing: str) -> None:
    with pytest.raises(InputError):
        parse_spacing(1000, spacing)


def test_double_steps_of_the_parent_project_end_before_clean() -> None:
    assert fork_double_steps((0, 10, 20, 30, 40)) == ((40, 20, 0), (30, 10))
    assert fork_double_steps((0, 10, 20, 30)) == ((20, 0), (10,))
    with pytest.raises(InputError, match="no double step"):
        fork_double_steps((0, 10))


@given(st.integers(0, 998), st.integers(1, 999))
def test_midpoint_lies_between(low: int, gap: int) -> None:
    assert low < midpoint(low + gap, low) <= low + gap
