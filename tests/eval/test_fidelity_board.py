"""Fidelity in the board: every measure with its reason, real pictures below, nothing measured twice."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from eval_fakes import fill, right, small_suite, store_path, wrong
from rich.console import Console

from datatools.errors import InputError
from eval.identity import identity
from eval.leaderboard import load_board
from eval.leaderboard.picture_columns import lock_columns
from eval.metrics.score import Score
from eval.report.exports import export_board
from eval.report.selection import choose_metrics
from eval.report.terminal import print_board
from eval.scoring import fidelity as fidelity_scoring
from eval.scoring.fidelity_measures import FIDELITY_METRICS, distance_score, fidelity_scores
from eval.scoring.steps import replace_scores
from eval.store import Store, open_store
from eval.store.features import Features
from eval.store.real_rows import RealPictures

WIDTH = 6
N = 12


class Fake:
    """Features that follow from a picture's bytes, and a count of what was measured."""

    def __init__(self, n_real: int) -> None:
        self.n_measured = 0
        random = np.random.default_rng(1)
        self.real = random.normal(size=(n_real, WIDTH)).astype(np.float32)

    def extract(self, pictures: Iterator[np.ndarray]) -> Features:
        seeds = [int(identity(picture.tolist(), 8), 16) for picture in pictures]
        return np.stack([np.random.default_rng(seed).normal(size=WIDTH) for seed in seeds]).astype(np.float32)

    def measure(self, ours: Features, real: Features, n_expected: int) -> dict[str, Score]:
        self.n_measured += 1
        return fidelity_scores(ours, real, n_expected)

    def reference(self, store: Store, measurer: object, named: str, size_px: int) -> object:
        pictures = RealPictures(self.real, "digest", size_px, named)
        return fidelity_scoring._Reference(pictures, {"extractor": "fake", "n": len(self.real)})


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake(n_real=40)
    measurer = fidelity_scoring._Measurer("fake", made.extract, made.measure, "features")
    monkeypatch.setattr(fidelity_scoring, "_open_inception", lambda: measurer)
    monkeypatch.setattr(fidelity_scoring, "_load_reference", made.reference)
    return made


def filled(folder: Path) -> Store:
    store = open_store(store_path(folder), "write").__enter__()
    plan, _ = fill(store, {"right": right, "wrong": wrong}, small_suite(N))
    store.execute("""UPDATE settings SET reference = '{"catalog": "real.duckdb"}'""")
    score(store, [setting.id for setting in plan.settings])
    return store


def score(store: Store, ids: list[str]) -> None:
    for setting_id, protocol_id, scores in fidelity_scoring.score_fidelity(store, ids):
        replace_scores(store, setting_id, protocol_id, scores)


def test_a_row_of_real_pictures_stands_below_in_every_form(tmp_path: Path, fake: Fake) -> None:
    with filled(tmp_path) as store:
        board = load_board(store)
    [floor] = board.floors
    assert floor.label == f"real pictures, n = {N}"
    assert floor.n_pictures == (N, N)
    assert floor.rank is None
    assert set(floor.scores) == set(FIDELITY_METRICS)
    assert floor.scores["fid_clean"].n == N
    assert not any(score.ranked for score in floor.scores.values())
    assert [row.label for row in board.rows] == ["right", "wrong"]
    assert board.rows[0].scores["fid_inf"].value is None
    assert "12 pictures" in str(board.rows[0].scores["fid_inf"].reason)
    assert board.provenance["measures"] == {board.floors[0].protocol_id: {"extractor": "fake", "n": 40}}
    metrics = choose_metrics(board, ["em_ci", "fid_clean", "recall", "copy_rate"])
    file = io.StringIO()
    print_board(board, board.rows, metrics, Console(file=file, width=200))
    assert f"real pictures, n = {N}" in file.getvalue()
    assert export_board(board, board.rows, metrics, "csv").decode().count("real pictures") == 1
    assert b"real pictures" in export_board(board, board.rows, metrics, "json")


def test_the_same_pictures_are_never_measured_twice(tmp_path: Path, fake: Fake) -> None:
    with filled(tmp_path) as store:
        assert fake.n_measured == 3  # two settings and the floor
        ids = [setting_id for (setting_id,) in store.rows("SELECT DISTINCT setting_id FROM samples")]
        before = store.rows("SELECT * FROM scores ORDER BY ALL")
        score(store, ids)
        assert fake.n_measured == 3
        assert store.rows("SELECT * FROM scores ORDER BY ALL") == before
        [(gone,)] = store.rows("SELECT min(sha256) FROM samples WHERE setting_id = ?", [ids[0]])
        store.execute("DELETE FROM features WHERE sha256 = ?", [gone])
        store.picture_path(gone).unlink()
        score(store, ids)
        assert fake.n_measured > 3


def test_too_small_a_reference_leaves_the_floor_empty_with_its_reason(tmp_path: Path, fake: Fake) -> None:
    fake.real = fake.real[:20]
    with filled(tmp_path) as store:
        [floor] = load_board(store).floors
    assert {score.value for score in floor.scores.values()} == {None}
    assert "20 reference pictures" in str(floor.scores["fid_clean"].reason)


def test_nothing_is_ranked_across_different_n_or_protocols(tmp_path: Path, fake: Fake) -> None:
    with filled(tmp_path) as store:
        first, second = load_board(store).rows
    many = Score(3.0, n=4000, n_expected=4000)
    rows = [
        replace(row, setting_id=name, scores={"fid_clean": score})
        for name, row, score in (
            ("a", first, many),
            ("b", second, many),
            ("fewer", first, replace(many, n=2500)),
            ("other", second, many),
        )
    ]
    protocols = {(name, "fid_clean"): "p" for name in ("a", "b", "fewer")} | {("other", "fid_clean"): "q"}
    scores = [row.scores["fid_clean"] for row in lock_columns(rows, protocols)]
    assert [score.ranked for score in scores] == [True, True, False, False]
    assert "n = 2500, not 4000" in str(scores[2].reason)
    assert "another protocol" in str(scores[3].reason)
    assert [score.value for score in scores] == [3.0] * 4


def test_copies_are_found_and_new_pictures_are_not() -> None:
    random = np.random.default_rng(0)
    real = random.normal(size=(500, WIDTH)).astype(np.float32)
    new = fidelity_scores(random.normal(size=(300, WIDTH)).astype(np.float32), real, 300)
    assert new["nn_distance"].value == pytest.approx(1, abs=0.15)
    assert (new["copy_rate"].value or 0) < 0.04
    copied = fidelity_scores(real[:300] + np.float32(1e-4), real, 300)
    assert copied["copy_rate"].value == 1
    assert copied["nn_distance"].value == pytest.approx(0, abs=0.01)
    assert not copied["copy_rate"].ranked


def test_few_pictures_are_shown_with_their_n_and_marked_biased() -> None:
    features = np.random.default_rng(0).normal(size=(300, WIDTH)).astype(np.float32)
    score = distance_score(features, features, 300)
    assert score.value == pytest.approx(0, abs=1e-6)
    assert not score.ranked
    assert str(score.reason).startswith("biased: n = 300 against 300 pictures")


def test_without_the_network_every_measure_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> object:
        raise InputError("no weights for the Inception network", "Install them.")

    monkeypatch.setattr(fidelity_scoring, "_open_inception", missing)
    with filled(tmp_path) as store:
        rows = load_board(store).rows
    assert all(
        row.scores[metric].reason == "no weights for the Inception network. Install them."
        for row in rows
        for metric in FIDELITY_METRICS
    )
