"""Enlarged pictures are recognised, untouched ones are left alone, and given scales stand."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from inline_runner import InlineRunner
from PIL import Image
from test_build import build, rows

from datatools.px_scale import ESTIMATOR, estimate_px_scale

ORIGINAL = Image.fromarray(skimage.data.astronaut()).crop((40, 0, 240, 200)).copy()
RESAMPLING = Image.Resampling


@pytest.fixture(autouse=True)
def _inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datatools.build.LocalRunner", InlineRunner)


def compressed(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def estimate(image: Image.Image) -> tuple[float, float] | None:
    return estimate_px_scale(np.asarray(image))


@pytest.mark.parametrize("kind", [RESAMPLING.BILINEAR, RESAMPLING.BICUBIC, RESAMPLING.LANCZOS])
@pytest.mark.parametrize("factor", [1.25, 1.5, 2.0, 3.0])
def test_an_enlargement_is_found_to_one_per_cent(kind: Image.Resampling, factor: float) -> None:
    edge = round(200 * factor)
    assert estimate(ORIGINAL.resize((edge, edge), kind)) == pytest.approx((factor, factor), rel=0.01)


def test_each_axis_is_found_by_itself_and_cutting_and_good_jpeg_do_no_harm() -> None:
    large = ORIGINAL.resize((400, 200), RESAMPLING.BICUBIC)
    assert estimate(large) == pytest.approx((2.0, 1.0), rel=0.01)
    large = ORIGINAL.resize((300, 500), RESAMPLING.BICUBIC)
    assert estimate(large) == pytest.approx((1.5, 2.5), rel=0.01)
    large = ORIGINAL.resize((400, 400), RESAMPLING.BICUBIC).crop((37, 11, 371, 301))
    assert estimate(compressed(large, 95)) == pytest.approx((2.0, 2.0), rel=0.01)


def test_where_there_is_no_evidence_nothing_is_said() -> None:
    assert estimate(ORIGINAL) is None
    assert estimate(compressed(ORIGINAL, 75)) is None
    assert estimate(Image.new("RGB", (300, 300), "red")) is None
    assert estimate(ORIGINAL.crop((0, 0, 30, 200))) is None
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    assert estimate(Image.fromarray(noise)) is None


def test_a_build_notes_what_it_finds_once_and_a_given_scale_stands(tmp_path: Path) -> None:
    source, catalog = tmp_path / "in", tmp_path / "c.duckdb"
    source.mkdir()
    for name, image in (("double", ORIGINAL.resize((400, 400), RESAMPLING.BICUBIC)), ("plain", ORIGINAL)):
        image.putpixel((0, 0), (0, 0, 0))  # SmallReader finds no text here
        image.save(source / f"{name}.png")
    build(source, catalog)
    assert rows(catalog, "FROM px_scales") == []
    assert build(source, catalog, estimate_px_scale=True).n_read == 2
    scales = "SELECT key, round(sx, 1), round(sy, 1), source FROM px_scales"
    assert rows(catalog, scales) == [("double.png", 2.0, 2.0, "estimated")]
    assert rows(catalog, "SELECT DISTINCT px_estimator FROM store.pictures") == [(ESTIMATOR,)]
    line = json.loads((tmp_path / "px_scales.jsonl").read_text())
    assert line["px_scale"] == pytest.approx([2, 2], rel=0.01)
    (source / "twin.png").write_bytes((source / "double.png").read_bytes())
    report = build(source, catalog, estimate_px_scale=True)
    assert (report.n_unchanged, report.n_reused) == (2, 1)
    assert len(rows(catalog, scales)) == 2
    # What the tool did itself is known, and no estimate is needed.
    build(source, catalog, ocr=(), estimate_px_scale=True, max_edge_px=300)
    assert sorted(rows(catalog, scales)) == [
        ("double.png", 0.8, 0.8, "shrunk"),
        ("twin.png", 0.8, 0.8, "shrunk"),
    ]
    ORIGINAL.save(source / "double.png")
    (source / "twin.png").unlink()
    build(source, catalog, ocr=(), max_edge_px=1000)
    assert rows(catalog, "FROM store.px_scales") == []
