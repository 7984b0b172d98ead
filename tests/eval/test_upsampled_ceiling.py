"""Typeset text sent through a cascade's upsamplers: made as the rows were, and no row's ceiling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from eval_fakes import store_path
from PIL import Image

from datatools.errors import InputError
from datatools.ocr import OcrEngine, open_engine
from eval.calibration.job import calibrate
from eval.calibration.upsampled import find_upsamplers, plan_upsampled
from eval.commands.jobs import run_sweep
from eval.leaderboard import load_board
from eval.reading.pictures import load_picture
from eval.scoring.options import ScoreOptions
from eval.store import Store, open_store
from eval.suites import load_suite
from eval.sweep.job import SweepJob
from eval.sweep.options import SweepOptions
from txtdiff.pretrained import PREFIX

BASE, UPSAMPLER = Path(f"{PREFIX}mini/base"), Path(f"{PREFIX}mini/upsampler")
WAY = "32 px enlarged to 128 px (ddim:2 low_res_consistency=1.0)"


@pytest.fixture(scope="module")
def reader() -> OcrEngine:
    return open_engine("rapidocr")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One text drawn by the bundled cascade, its upsampler held to the small picture."""
    path = store_path(tmp_path_factory.mktemp("upsampled"))
    sweep = SweepOptions(sampler=("ddim:2",), upsampler_consistency=(1,))
    job = SweepJob(bases=[BASE], upsamplers=[UPSAMPLER], limit=1, batch_size=1, sweep=sweep)
    run_sweep(path, job, ["rapidocr"], ScoreOptions())
    return path


@pytest.mark.slow
def test_typeset_text_is_enlarged_as_the_rows_were(swept: Path, reader: OcrEngine) -> None:
    with open_store(swept, "update") as store:
        lines = calibrate(store, [reader], ScoreOptions(), upsamplers=[UPSAMPLER])
        rows = samples(store)
        assert calibrate(store, [reader], ScoreOptions(), upsamplers=[UPSAMPLER]) == lines
        assert samples(store) == rows
        [row] = load_board(store).rows
        [(ceiling_id,)] = store.rows("SELECT setting_id FROM settings WHERE label = 'ceiling 128 px'")
        pictures = {(label, seed): load_picture(store, sha256) for label, seed, sha256, *_ in rows}
    assert [line.split("  ")[1] for line in lines if " all " in line] == ["32 px", "128 px", WAY]
    assert {row[3:] for row in rows if row[0] == WAY} == {(128, "cpu", True)}
    for seed in range(8):
        small = np.asarray(Image.fromarray(pictures[WAY, seed]).resize((32, 32), Image.Resampling.BOX), int)
        # Held fully, it is the small picture again once it is shrunk, but for what was clipped.
        assert abs(small - pictures["ceiling 32 px", seed]).mean() < 4
    # Enlarged text is nobody's ceiling: a row's is text typeset at the row's own size.
    assert (row.size_px, row.ceiling_id) == (128, ceiling_id)


def samples(store: Store) -> list[tuple[object, ...]]:
    return store.rows(
        """SELECT label, seed, sha256, width_px, device, seconds > 0
           FROM samples JOIN settings USING (setting_id)
           WHERE spec->>'$.role' IN ('ceiling', 'enlarged') ORDER BY ALL"""
    )


def test_each_way_and_each_weights_are_a_line_of_their_own(swept: Path) -> None:
    upsamplers = find_upsamplers([UPSAMPLER])
    copy = """INSERT INTO settings SELECT setting_id || $1, suite_id, label, json_merge_patch(spec, $2::JSON),
              position + 1, reference FROM settings WHERE label NOT LIKE '% px%'"""
    with open_store(swept, "update") as store:
        store.execute(copy, ["-raw", '{"weights": "raw"}'])
        plans = plan_upsampled(store, [load_suite("smoke", 1)], upsamplers, "cpu")
        store.execute("DELETE FROM settings WHERE setting_id LIKE '%-raw'")
    labels = [setting.label for plan, _ in plans for setting in plan.settings]
    assert labels == [WAY, WAY.replace(")", ", weights raw)")]
    assert len({setting.id for plan, _ in plans for setting in plan.settings}) == 2


def test_what_made_no_row_is_refused(swept: Path, reader: OcrEngine) -> None:
    with open_store(swept, "update") as store:
        with pytest.raises(InputError, match="was enlarged by"):
            calibrate(store, [reader], ScoreOptions(), upsamplers=[UPSAMPLER] * 2)
        with pytest.raises(InputError, match="is a base model"):
            calibrate(store, [reader], ScoreOptions(), upsamplers=[BASE])
