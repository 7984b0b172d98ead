"""Two settings side by side: pairs, flips, difference and p."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from eval_fakes import fill, half, right, small_suite, store_path, wrong

from datatools.errors import InputError
from eval.leaderboard.comparison import compare_settings, comparison_lines
from eval.reading.protocol import Protocol
from eval.scoring.steps import score_again
from eval.statistics import mcnemar_midp
from eval.store import Store, open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with open_store(store_path(tmp_path_factory.mktemp("compared")), "write") as opened:
        fill(opened, {"right": right, "half": half, "wrong": wrong}, small_suite(30))
        yield opened


def test_pairs_are_counted_and_flips_named(store: Store) -> None:
    [comparison] = compare_settings(store, "half", store, "right")
    assert comparison.n_pictures == comparison.n_prompts == 29
    assert comparison.em_b == 1
    assert comparison.n_both + len(comparison.flips) == 29
    assert {flip.winner for flip in comparison.flips} == {"B"}
    assert comparison.p == pytest.approx(mcnemar_midp(0, len(comparison.flips)))
    assert comparison.flips[0].reading_a == "zzz"
    assert not comparison.is_worse
    [back] = compare_settings(store, "right", store, "half")
    assert back.is_worse


def test_a_setting_is_no_better_than_itself(store: Store) -> None:
    [comparison] = compare_settings(store, "half", store, "half")
    assert (comparison.p, comparison.flips, comparison.interval) == (1.0, (), None)


def test_several_pictures_a_prompt_are_permuted_by_prompt(tmp_path: Path) -> None:
    with open_store(store_path(tmp_path), "write") as store:
        fill(store, {"half": half, "right": right}, small_suite(12, repeats=3))
        [comparison] = compare_settings(store, "half", store, "right")
    assert (comparison.n_pictures, comparison.n_prompts) == (33, 11)
    assert comparison.test.startswith("sign-flip")
    assert comparison.interval is not None
    assert comparison.interval.low <= comparison.em_b - comparison.em_a <= comparison.interval.high


def test_a_baseline_may_be_in_another_store(store: Store, tmp_path: Path) -> None:
    with open_store(tmp_path / "before.duckdb", "write") as before:
        fill(before, {"old": wrong}, small_suite(20))
        [comparison] = compare_settings(before, "old", store, "right")
    assert (comparison.n_pictures, comparison.em_a, comparison.em_b) == (19, 0, 1)


def test_the_printed_comparison_names_both_sides(store: Store) -> None:
    [comparison] = compare_settings(store, "right", store, "wrong")
    lines = list(comparison_lines(comparison, n_flips=2))
    assert lines[:2] == ["read by finder e2e ci", "A  right: EM 100.0 %"]
    assert "-100.0 points" in lines[3]
    assert sum(line.startswith("only A") for line in lines) == 2


def test_every_way_in_which_both_were_read_is_compared_and_named(tmp_path: Path) -> None:
    with open_store(store_path(tmp_path), "write") as store:
        plan, protocol = fill(store, {"half": half, "right": right}, small_suite(12))
        ids = [setting.id for setting in plan.settings]
        score_again(store, ids, Protocol(protocol.reader_id, normaliser="alnum"))
        score_again(store, ids[:1], Protocol(protocol.reader_id, normaliser="strict"))
        readers = [comparison.reader for comparison in compare_settings(store, "half", store, "right")]
    assert readers == ["finder e2e ci", "finder e2e alnum"]


def test_unknown_settings_are_named(store: Store) -> None:
    with pytest.raises(InputError, match="Did you mean 'right'"):
        compare_settings(store, "rigth", store, "half")


def test_two_settings_without_a_difference_have_no_interval_of_width_zero(tmp_path: Path) -> None:
    with open_store(store_path(tmp_path), "write") as store:
        fill(store, {"a": right, "b": right}, small_suite(12))
        [comparison] = compare_settings(store, "a", store, "b")
    lines = list(comparison_lines(comparison, 0))
    assert lines[3].startswith("B - A = +0.0 points, p = 1 (")
