"""Plots for papers: the same bytes, the numbers of the board, no plot without numbers."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from page_board import make_board
from PIL import Image

from datatools.errors import InputError
from eval.leaderboard.board import Board
from eval.report.figures import frontier, write_figures


@pytest.fixture(scope="module")
def board() -> Board:
    made = make_board(n_prompts=12)
    flat = [
        replace(row, spec={**row.spec["stages"][0], "images": 1000 * (i + 1), "n_steps": 20 + i % 2})
        for i, row in enumerate(made.rows)
    ]
    return replace(made, rows=flat)


def test_every_plot_comes_as_svg_and_png_and_bytes_repeat(board: Board, tmp_path: Path) -> None:
    files = write_figures(board, tmp_path / "first")
    assert [f.name for f in files] == [
        f"{name}.{suffix}"
        for name in ("tradeoff", "lengths", "grid", "checkpoints")
        for suffix in ("svg", "png")
    ]
    for file in write_figures(board, tmp_path / "second"):
        assert file.read_bytes() == (tmp_path / "first" / file.name).read_bytes()
    with Image.open(tmp_path / "first" / "tradeoff.png") as picture:
        assert min(picture.size) > 600


def test_a_label_is_text_and_no_formula(board: Board, tmp_path: Path) -> None:
    spiteful = replace(board.rows[0], label="$\\frac{1$ <b>", spec=board.rows[0].spec | {"sampler": "$x^$"})
    files = write_figures(replace(board, rows=[spiteful, *board.rows[1:]]), tmp_path, ["svg"])
    assert len(files) == 4


def test_what_has_no_numbers_is_left_out(board: Board, tmp_path: Path) -> None:
    assert write_figures(Board([], [], [], {}, "", {}), tmp_path) == []
    bare = [replace(row, seconds_per_picture=None, spec={}) for row in board.rows]
    names = [f.name for f in write_figures(replace(board, rows=bare), tmp_path, ["svg"])]
    assert names == ["lengths.svg"]


def test_the_frontier_holds_what_nothing_beats() -> None:
    points = [(1.0, 5.0), (2.0, 9.0), (2.0, 8.0), (3.0, 9.0), (4.0, 10.0), (1.0, 5.0)]
    assert frontier(points) == [(1.0, 5.0), (2.0, 9.0), (4.0, 10.0)]


def test_without_matplotlib_the_error_says_what_to_install(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError) as caught:
        write_figures(board, tmp_path)
    assert "txtdiff[plots]" in str(caught.value.remedy)
