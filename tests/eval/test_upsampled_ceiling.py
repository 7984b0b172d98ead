"""Typeset text sent through a cascade's upsamplers: made as the rows were, and no row's ceiling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from eval_fakes import store_path
from PIL import Image

from datatools.errors import InputError
from datatools.ocr import open_engine
from eval.calibration.job import calibrate
from eval.commands.jobs import run_sweep
from eval.leaderboard import load_board
from eval.reading.pictures import load_picture
from eval.scoring.options import ScoreOptions
from eval.store import open_store
from eval.sweep.job import SweepJob
from eval.sweep.options import SweepOptions
from txtdiff.pretrained import PREFIX

BASE, UPSAMPLER = Path(f"{PREFIX}mini/base"), Path(f"{PREFIX}mini/upsampler")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One picture of the bundled cascade, and one of its base alone."""
    path = store_path(tmp_path_factory.mktemp("upsampled"))
    once = SweepOptions(sampler=("ddim:2",), upsampler_consistency=(0.5,))
    for upsamplers, sweep in (([UPSAMPLER], once), ([], SweepOptions(sampler=("ddim:2",)))):
        job = SweepJob(bases=[BASE], upsamplers=upsamplers, limit=1, batch_size=1, sweep=sweep)
        run_sweep(path, job, ["rapidocr"], ScoreOptions())
    return path


@pytest.mark.slow
def test_typeset_text_is_enlarged_as_the_rows_were(swept: Path) -> None:
    with open_store(swept, "update") as store:
        lines = calibrate(store, [open_engine("rapidocr")], ScoreOptions(), upsamplers=[UPSAMPLER])
        rows = store.rows(
            """SELECT label, seed, sha256, width_px FROM samples JOIN settings USING (setting_id)
               WHERE spec->>'$.role' = 'ceiling'"""
        )
        board = load_board(store)
        pictures = {(label, seed): load_picture(store, sha256) for label, seed, sha256, _ in rows}
    way = "32 px enlarged to 128 px (ddim:2 low_res_consistency=0.5)"
    assert [line.split("  ")[1] for line in lines if " all " in line] == ["32 px", "128 px", way]
    assert {width_px for label, *_, width_px in rows if label == way} == {128}
    for seed in range(8):
        small = np.asarray(Image.fromarray(pictures[way, seed]).resize((32, 32), Image.Resampling.BOX), int)
        assert abs(small - pictures["ceiling 32 px", seed]).mean() < 24  # of 255: the same text in its place
    # It is nobody's ceiling: rows are held against what the reader reads of text typeset at their own size.
    assert {row.size_px for row in board.rows} == {32, 128}
    assert not any("calibrated" in (row.scores["em_rel"].reason or "") for row in board.rows)


def test_upsamplers_that_made_no_row_are_refused(swept: Path) -> None:
    with (
        open_store(swept, "update") as store,
        pytest.raises(InputError, match="was enlarged by"),
    ):
        calibrate(store, [open_engine("rapidocr")], ScoreOptions(), upsamplers=[UPSAMPLER, UPSAMPLER])
