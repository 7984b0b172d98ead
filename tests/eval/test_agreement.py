"""Several readers: each makes rows of its own, and their agreement is what it says."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from eval_fakes import Finder, hide, store_path
from PIL import Image
from rich.console import Console

import eval.commands.jobs
from eval.commands.jobs import score_folder
from eval.leaderboard import load_board
from eval.reading.agreement import cohen_kappa
from eval.report.selection import choose_metrics
from eval.report.terminal import print_board
from eval.scoring.options import ScoreOptions
from eval.store import open_store


class Myope(Finder):
    """Reads "0" as "o", so that it differs from Finder where there is one."""

    name = "myope"

    def read(self, pictures):  # type: ignore[no-untyped-def]
        return [
            [type(line)(line.polygon, line.text.replace("0", "o"), line.confidence) for line in lines]
            for lines in super().read(pictures)
        ]


def test_kappa_is_cohen_s() -> None:
    # The example of the paper's table, 20 15 / 5 10 of 50: observed 0.7 against 0.5 by chance, so 0.4.
    both, only_a, only_b, neither = (np.array([float(n)]) for n in (20, 5, 10, 15))
    assert cohen_kappa(both, only_a, only_b, neither)[0] == pytest.approx(0.4)
    zero, ten = np.zeros(1), np.full(1, 10.0)
    assert np.isnan(cohen_kappa(ten, zero, zero, zero)[0])


def test_two_readers_are_compared_and_ranked_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = {"finder": Finder(), "myope": Myope()}
    monkeypatch.setattr(eval.commands.jobs, "find_engine", engines.__getitem__)
    folder = tmp_path / "pictures"
    folder.mkdir()
    texts = ["a0", "b0", "cc", "dd", "ee", "ff"]
    shown = ["a0", "b0", "cc", "dd", "xx", "xx"]
    for i, text in enumerate(shown):
        Image.fromarray(hide(text)).save(folder / f"{i}.png")
    prompts = tmp_path / "p.jsonl"
    prompts.write_text(
        "".join(json.dumps({"file": f"{i}.png", "txt": t}) + "\n" for i, t in enumerate(texts))
    )
    score_folder(store_path(tmp_path), folder, prompts, None, None, ["finder", "myope"], ScoreOptions())
    with open_store(store_path(tmp_path)) as store:
        [(n, equal, similarity, kappa)] = store.rows("SELECT n, equal, similarity, kappa FROM agreements")
        [(readings,)] = store.rows("SELECT count(*) FROM readings")
        board = load_board(store)
    assert n == 6
    assert equal == pytest.approx(4 / 6)
    assert similarity == pytest.approx((2 * 0.5 + 4) / 6)
    assert kappa == pytest.approx((4 / 6 - 4 / 9) / (1 - 4 / 9))  # 4 and 2 right of 6
    assert readings == 2 * 5
    assert engines["finder"].n_read == 5
    assert {row.reader: row.scores["em_ci"].value for row in board.rows} == {
        "finder e2e ci": pytest.approx(4 / 6),
        "myope e2e ci": pytest.approx(2 / 6),
    }
    assert [row.rank for row in board.rows] == [1, 1]
    console = Console(file=io.StringIO(), width=200)
    print_board(board, board.rows, choose_metrics(board, None), console)
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    assert "myope e2e ci" in printed
    assert "finder and myope read the same in 66.7 %" in printed
