"""Words that a model has seen in training, and words that it has not: what is counted, told and ranked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from eval_fakes import Finder, hide, store_path
from PIL import Image

import eval.commands.jobs
from datatools.build import build_catalog
from datatools.config import BuildSettings
from datatools.errors import InputError
from eval.commands.jobs import score_folder
from eval.leaderboard import load_board
from eval.metrics.registry import SEEN_METRICS
from eval.metrics.seen_words import read_vocabularies, read_vocabulary, seen_scores
from eval.report.selection import choose_metrics
from eval.scoring.options import ScoreOptions
from eval.store import open_store
from txtdiff.data.config import DataConfig

ASKED = {"a": "Open!", "b": "it's open", "c": "closed", "d": "", "e": "open zebra", "f": "?!"}
WRITTEN = {"a": "open", "b": "it's open", "c": "close", "d": "", "e": "open", "f": "?!"}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures with given texts, read by nobody."""
    folder = tmp_path_factory.mktemp("training")
    for name, text in {"one": "OPEN daily", "two": "Its late"}.items():
        Image.new("RGB", (40, 40)).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(text)
    build_catalog(folder, folder.parent / "c.duckdb", BuildSettings(ocr=(), workers=1))
    return folder.parent / "c.duckdb"


@pytest.fixture
def store(tmp_path: Path, catalog: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(eval.commands.jobs, "find_engine", lambda name: Finder())
    for name, text in WRITTEN.items():
        Image.fromarray(hide(text)).save(tmp_path / f"{name}.png")
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("\n".join(json.dumps({"file": f"{k}.png", "txt": v}) for k, v in ASKED.items()))
    path = store_path(tmp_path)
    score_folder(path, tmp_path, prompts, "theirs", None, ["finder"], ScoreOptions(seen_words=catalog))
    return path


def test_texts_are_told_apart_by_the_words_of_the_training_texts(store: Path, catalog: Path) -> None:
    assert read_vocabulary(DataConfig(catalog=catalog)).words == {"open", "daily", "its", "late"}
    with open_store(store) as opened:
        rows = opened.rows("SELECT txt, n_words, n_seen FROM seen_words JOIN prompts USING (prompt_id)")
        board = load_board(opened)
    assert {txt: counts for txt, *counts in rows} == {
        "Open!": [1, 1],
        "it's open": [2, 2],
        "closed": [1, 0],
        "": [0, 0],
        "open zebra": [2, 1],
        "?!": [0, 0],  # no word: of neither kind
    }
    [row] = board.rows
    seen, unseen, gap = (row.scores[info.id] for info in SEEN_METRICS)
    assert (seen.value, seen.n, unseen.value, unseen.n) == (0.5, 2, 0.0, 2)
    assert gap.value == 0.5
    assert gap.low is not None and gap.low < 0 < 0.5 < (gap.high or 0)
    assert str(catalog) in (unseen.reason or "")
    assert "em_unseen" in [info.id for info in choose_metrics(board, None)]


def test_settings_of_other_training_words_are_not_ranked_with_the_rest(store: Path, tmp_path: Path) -> None:
    with open_store(store, "update") as opened:
        opened.execute("INSERT INTO settings SELECT * REPLACE ('other' AS setting_id) FROM settings")
        for table in ("samples", "text_scores", "scores"):
            opened.execute(f"INSERT INTO {table} SELECT * REPLACE ('other' AS setting_id) FROM {table}")
        opened.execute("INSERT INTO seen_words SELECT * REPLACE ('other' AS setting_id) FROM seen_words")
        assert [row.scores["em_unseen"].ranked for row in load_board(opened).rows] == [True, True]
        opened.execute("UPDATE seen_words SET vocabulary_id = 'x' WHERE setting_id = 'other'")
        rows = {row.setting_id: row.scores["em_unseen"] for row in load_board(opened).rows}
    assert sorted(score.ranked for score in rows.values()) == [False, True]


def test_a_catalog_that_is_gone_costs_the_split_alone(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = DataConfig(catalog=tmp_path / "gone.duckdb")
    assert read_vocabularies({"any": gone, "other": gone}) == {}
    assert capsys.readouterr().err.count("--seen-words") == 1  # a catalog is looked at once
    with pytest.raises(InputError, match="no catalog"):
        score_folder(
            store, tmp_path, tmp_path / "prompts.jsonl", None, None, ["finder"],
            ScoreOptions(seen_words=tmp_path / "gone.duckdb"),
        )  # fmt: skip


def test_the_interval_of_the_gap_covers_the_true_difference() -> None:
    random, n_covered, n_prompts = np.random.default_rng(0), 0, 120
    seen = pd.DataFrame(
        {"prompt_id": [f"p{i}" for i in range(n_prompts)], "is_seen": [i % 3 > 0 for i in range(n_prompts)]}
    ).assign(catalog="c")
    for _ in range(150):
        chance = np.where(seen["is_seen"], 0.8, 0.6)
        right = random.random(n_prompts) < chance
        counts = seen[["prompt_id"]].assign(em_ci=right, reading="x")
        gap = seen_scores(counts, seen)["unseen_gap"]
        n_covered += (gap.low or 0) <= 0.2 <= (gap.high or 0)
    assert 0.9 <= n_covered / 150 <= 0.99
