"""Calibration: typeset pictures, errors that are errors, and corrected scores by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from eval_fakes import fill, half, right, store_path
from hypothesis import given
from hypothesis import strategies as st

from datatools.errors import InputError
from datatools.ocr import open_engine
from eval.calibration import Calibration, calibrated_scores
from eval.calibration.job import calibrate
from eval.calibration.typesetter import Typesetter, typeset_cells, typeset_setting, with_one_error
from eval.leaderboard import load_board
from eval.scoring.options import ScoreOptions
from eval.store import open_store
from eval.suites import load_suite
from eval.text_metrics import em


@given(st.text("abcXYZ 019!", min_size=1, max_size=8).filter(str.strip), st.integers(0, 2**32))
def test_an_error_makes_another_text_for_every_normaliser(text: str, seed: int) -> None:
    changed = with_one_error(text, np.random.default_rng(seed))
    assert abs(len(changed) - len(text)) <= 1
    for normaliser in ("strict", "ci", "confusable"):
        assert not em(text, changed, normaliser)


def test_renders_are_the_same_each_time_and_differ_from_each_other() -> None:
    suite = load_suite("smoke", 3)
    cells = typeset_cells(suite)
    setting = typeset_setting(suite, 64, "ceiling")
    first, second = ([made.picture for made in Typesetter().make(setting, cells)] for _ in range(2))
    assert len(cells) == 8 * 3
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert len({picture.tobytes() for picture in first if picture is not None}) == 24
    assert {picture.shape for picture in first if picture is not None} == {(64, 64, 3)}


def test_scores_follow_the_formulas() -> None:
    counts = frame({"a": [1, 1], "b": [1, 0], "c": [0, 0], "elsewhere": [1]})
    ceiling = frame({"a": [1] * 8, "b": [1] * 7 + [0], "c": [1, 0] * 4})
    trap = frame({"a": [0] * 8, "b": [1] + [0] * 7, "c": [0] * 8})
    scores = calibrated_scores(counts, Calibration(ceiling, trap))
    em_value, se, fp = 0.5, (1 + 7 / 8 + 1 / 2) / 3, (1 / 8) / 3
    assert scores["em_rel"].value == pytest.approx(em_value / se)
    assert scores["em_star"].value == pytest.approx((em_value - fp) / (se - fp))
    assert scores["em_certified"].value == pytest.approx(3 / 4)
    assert scores["em_certified"].n_expected == 4
    low, high = scores["em_rel"].low, scores["em_rel"].high
    assert low is not None
    assert high is not None
    assert low <= em_value / se <= high


def test_no_correction_is_made_of_a_reader_that_reads_nothing() -> None:
    counts = frame({"a": [1, 1], "b": [1, 0]})
    nothing = frame({"a": [0] * 8, "b": [0] * 8})
    scores = calibrated_scores(counts, Calibration(nothing, nothing))
    for score in scores.values():
        assert score.value is None
        assert score.reason
    elsewhere = calibrated_scores(counts, Calibration(frame({"x": [1]}), frame({"x": [0]})))
    assert elsewhere["em_rel"].reason == "the reader was not calibrated on these prompts"


def test_an_empty_store_has_nothing_to_calibrate(tmp_path: Path) -> None:
    with open_store(store_path(tmp_path), "write") as store, pytest.raises(InputError, match="no pictures"):
        calibrate(store, [open_engine("rapidocr")], ScoreOptions())


@pytest.mark.slow
def test_the_real_reader_reads_typeset_words_and_invents_none(tmp_path: Path) -> None:
    with open_store(store_path(tmp_path), "write") as store:
        fill(store, {"right": right, "half": half})
        engine = open_engine("rapidocr")
        lines = calibrate(store, [engine], ScoreOptions(), size_px=128)
        (ceiling,), (trap,) = store.rows(
            """SELECT avg(em_ci::INT) FROM text_scores JOIN settings USING (setting_id)
               WHERE spec->>'$.generator' = 'typeset' GROUP BY spec->>'$.role' ORDER BY spec->>'$.role'"""
        )
        rows = load_board(store).rows
    assert f"{100 * ceiling:.1f} %" in lines[2]
    assert {"9 to 16 characters", "letters and digits"} <= {line.split("  ")[2] for line in lines}
    assert ceiling >= 0.9
    assert trap <= 0.05
    # The rows were read by another reader: its calibration is not theirs.
    assert all(row.scores["em_rel"].value is None for row in rows)
    assert [row.label for row in rows] == ["right", "half"]


def frame(right_by_prompt: dict[str, list[int]]) -> pd.DataFrame:
    rows = [(prompt, bool(value)) for prompt, values in right_by_prompt.items() for value in values]
    return pd.DataFrame(rows, columns=["prompt_id", "em_ci"]).assign(n_target=3, reading="x")
