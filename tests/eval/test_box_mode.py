"""Box mode: the recogniser alone, on known regions; never ranked with readings of the whole picture."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from eval_fakes import Finder, hide, small_suite, store_path
from PIL import Image
from required_tools import require_tool

import eval.commands.jobs
from datatools.errors import InputError
from datatools.ocr import RegionReader, open_engine
from datatools.ocr.regions import cut_regions
from datatools.synth import make_pictures
from datatools.synth.options import SynthOptions
from eval.calibration.typesetter import Typesetter, typeset_cells, typeset_setting
from eval.commands.jobs import run_sweep, score_folder
from eval.generators.folder import load_prompts
from eval.leaderboard import load_board
from eval.scoring.options import ScoreOptions
from eval.store import open_store
from eval.suites.region_fields import polygons_of
from eval.sweep.job import SweepJob

BOX = ScoreOptions(mode="box")


def write_folder(folder: Path, rows: list[dict[str, object]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        Image.fromarray(hide(str(row["txt"]))).save(folder / str(row["file"]))
    path = folder.parent / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def finder(monkeypatch: pytest.MonkeyPatch) -> Finder:
    engine = Finder()
    monkeypatch.setattr(eval.commands.jobs, "find_engine", lambda name: engine)
    return engine


def test_a_region_is_cut_out_upright_with_a_margin() -> None:
    picture = np.full((200, 300, 3), 255, np.uint8)
    picture[50:90, 100:220] = (255, 0, 0)
    [crop] = cut_regions(picture, [((100, 50), (220, 50), (220, 90), (100, 90))])
    assert crop.shape == (48, 128, 3)
    assert tuple(crop[24, 64]) == (255, 0, 0)
    # A quarter turn: the text's own top left is at the lower left.
    [turned] = cut_regions(picture, [((100, 90), (100, 50), (220, 50), (220, 90))])
    assert turned.shape[0] > turned.shape[1]


@pytest.mark.parametrize("name", ["rapidocr", "easyocr", "tesseract"])
def test_the_real_recognisers_read_what_stands_in_each_region(name: str, tmp_path: Path) -> None:
    if name == "tesseract":
        require_tool(["tesseract"], "tesseract-ocr")
    make_pictures(tmp_path, SynthOptions(n=6, size_px=128, seed=3))
    engine = open_engine(name)
    assert isinstance(engine, RegionReader)
    prompts = load_prompts(tmp_path / "truth.jsonl", tmp_path)
    n_lines = n_right = 0
    for cell in prompts.cells:
        key = (cell.prompt.id, cell.seed)
        picture = np.asarray(Image.open(prompts.files[key]).convert("RGB"))
        [lines] = engine.read_regions([picture], [prompts.regions[key].polygons])
        asked = cell.prompt.txt.split("\n")
        assert len(lines) == len(asked)
        n_lines += len(asked)
        n_right += sum(a.lower() == b.text.lower() for a, b in zip(asked, lines, strict=True))
    assert n_right >= 0.8 * n_lines


def test_typeset_ink_lies_in_its_regions() -> None:
    suite = small_suite(3)
    batch = Typesetter().make(typeset_setting(suite, 96, "ceiling"), typeset_cells(suite))
    for made in batch:
        assert made.picture is not None
        assert made.regions is not None
        assert len(made.regions) == 2
        is_ink = (made.picture != made.picture[0, 0]).any(axis=2)
        for (left, top), _, (right, bottom), _ in made.regions:
            is_ink[int(top) : int(bottom) + 2, int(left) : int(right) + 2] = False
        assert is_ink.sum() == 0


@pytest.mark.usefixtures("finder")
def test_box_rows_have_their_own_protocol_and_their_own_rank(tmp_path: Path) -> None:
    boxes = [[0, 0, 30, 5], [0, 8, 30, 13]]
    rows: list[dict[str, object]] = [
        {"file": "a.png", "txt": "one\ntwo", "boxes": boxes},
        {"file": "b.png", "txt": "three", "boxes": boxes[:1]},
        {"file": "c.png", "txt": ""},
    ]
    path, folder = write_folder(tmp_path / "pictures", rows), tmp_path / "pictures"
    for options in (ScoreOptions(), BOX):
        score_folder(store_path(tmp_path), folder, path, None, None, ["finder"], options)
    with open_store(store_path(tmp_path)) as store:
        board = load_board(store)
        modes = store.rows("SELECT spec->>'$.mode' FROM protocols ORDER BY 1")
        n_expected = dict(store.rows("SELECT spec->>'$.mode', count(*) FROM text_scores JOIN protocols USING "
                                     "(protocol_id) GROUP BY 1"))  # fmt: skip
    assert modes == [("box",), ("e2e",)]
    assert n_expected == {"box": 2, "e2e": 3}  # box mode says nothing of a picture without text
    assert sorted((row.reader, row.rank) for row in board.rows) == [
        ("finder box ci", 1),
        ("finder e2e ci", 1),
    ]
    assert not board.pairs
    assert all(row.scores["em_ci"].value == 1 for row in board.rows)


@pytest.mark.usefixtures("finder")
def test_a_picture_without_boxes_is_named(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"file": "a.png", "txt": "one\ntwo", "boxes": [[0, 0, 3, 3]]}]
    path = write_folder(tmp_path / "pictures", rows)
    with pytest.raises(InputError, match=r"a\.png has 1 boxes for 2 lines"):
        score_folder(store_path(tmp_path), tmp_path / "pictures", path, None, None, ["finder"], BOX)
    assert not store_path(tmp_path).exists()


def test_a_cascade_has_no_known_regions(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="chooses itself where it writes"):
        run_sweep(store_path(tmp_path), SweepJob(bases=[tmp_path]), ["rapidocr"], BOX)


def test_a_reader_that_cannot_be_told_where_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Whole:
        name, version, weights_digest, settings = "whole", "1", "none", {}
        read = Finder.read

    monkeypatch.setattr(eval.commands.jobs, "find_engine", lambda name: Whole())
    path = write_folder(tmp_path / "pictures", [{"file": "a.png", "txt": "one", "boxes": [[0, 0, 3, 3]]}])
    with pytest.raises(InputError, match="cannot read known regions"):
        score_folder(store_path(tmp_path), tmp_path / "pictures", path, None, None, ["whole"], BOX)


@pytest.mark.parametrize("row", [[1, 2, 3], [5, 0, 1, 9], "abcd", [[0, 0], [1]], 7, [None] * 4])
def test_what_is_no_box_is_named(row: object) -> None:
    with pytest.raises(InputError, match=r"picture 3: .* is no box"):
        polygons_of([row], "picture 3")


def test_options_of_a_mode_are_told_apart() -> None:
    assert replace(BOX, mode="e2e") == ScoreOptions()
