"""Readers: what they read, in whose pixels, and what they say when something is missing."""

from __future__ import annotations

import importlib.machinery
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from datatools.errors import InputError
from datatools.ocr import EnlargeSettings, enlarge, open_engine
from datatools.ocr.engine import Picture, polygon_from
from datatools.ocr.enlarge import enlargement_factor, thicken


def written(text: str, size_px: tuple[int, int], at: tuple[int, int], height_px: int) -> Picture:
    """Dark text on a light ground, and nothing else."""
    image = Image.new("RGB", size_px, (235, 230, 220))
    ImageDraw.Draw(image).text(at, text, (20, 30, 60), ImageFont.load_default(height_px))
    return np.asarray(image)


@pytest.mark.parametrize("size_px", [(64, 64), (200, 64), (128, 300)])
def test_rapidocr_reads_and_places_a_word(size_px: tuple[int, int]) -> None:
    picture = written("green", size_px, (6, 20), 18)
    [[line]] = open_engine("rapidocr").read([picture])
    assert line.text.lower() == "green"
    assert line.confidence > 0.9
    xs, ys = zip(*line.polygon, strict=True)
    ink = np.argwhere(picture.sum(axis=2) < 300)
    # the polygon holds the ink, with at most a letter's height around it
    assert min(ys) <= ink[:, 0].min() + 2 and max(ys) >= ink[:, 0].max() - 2
    assert min(xs) <= ink[:, 1].min() + 2 and max(xs) >= ink[:, 1].max() - 2
    assert max(ys) - min(ys) < 40 and max(xs) <= size_px[0] and max(ys) <= size_px[1]


def test_a_reading_does_not_depend_on_its_neighbours() -> None:
    reader = open_engine("rapidocr")
    pictures = [written(text, (160, 64), (6, 20), 18) for text in ("green", "a longer line", "77")]
    assert reader.read(pictures) == [reader.read([picture])[0] for picture in pictures]


def test_identity_of_a_reader_names_weights_and_settings_but_no_threads() -> None:
    one = open_engine("rapidocr")
    other = open_engine("rapidocr", n_threads=2, enlarge={"short_side_px": 512})
    assert one.weights_digest == other.weights_digest
    assert re.fullmatch(r"[0-9a-f]{64}", one.weights_digest)
    assert json.loads(json.dumps(other.settings))["enlarge"]["short_side_px"] == 512
    assert "n_threads" not in one.settings and one.settings != other.settings


def test_weights_that_are_missing_name_what_brings_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rapidocr.py").write_text("")
    found = importlib.machinery.ModuleSpec("rapidocr", None, origin=str(tmp_path / "rapidocr.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found)
    with pytest.raises(InputError, match=r"PP-OCRv6_det_small.onnx") as caught:
        open_engine("rapidocr")
    assert "rapidocr>=3.10" in (caught.value.remedy or "")


@given(
    st.lists(st.tuples(st.floats(-50, 700), st.floats(-50, 700)), min_size=4, max_size=4),
    st.integers(1, 8),
)
def test_polygons_are_scaled_back_and_clipped(points: list[tuple[float, float]], scale: int) -> None:
    polygon = polygon_from(points, scale, (64, 48))
    for (x, y), (given_x, given_y) in zip(polygon, points, strict=True):
        assert x == pytest.approx(min(max(given_x / scale, 0), 64), abs=0.01)
        assert y == pytest.approx(min(max(given_y / scale, 0), 48), abs=0.01)


@given(st.tuples(st.integers(1, 600), st.integers(1, 600)), st.integers(1, 512), st.integers(1, 8))
def test_the_factor_reaches_the_short_side_or_its_limit(
    size_px: tuple[int, int], short_side_px: int, max_factor: int
) -> None:
    settings = EnlargeSettings(short_side_px=short_side_px, max_factor=max_factor)
    factor = enlargement_factor(size_px, settings)
    assert 1 <= factor <= max_factor
    assert factor == max_factor or min(size_px) * factor >= short_side_px
    assert factor == 1 or min(size_px) * (factor - 1) < short_side_px


def test_an_empty_picture_has_no_lines() -> None:
    blank, strip = np.full((48, 48, 3), 200, np.uint8), np.full((8, 4000, 3), 200, np.uint8)
    assert open_engine("rapidocr").read([blank, blank, strip, strip.swapaxes(0, 1)]) == [[]] * 4


def test_enlarge_is_a_whole_factor_and_leaves_large_pictures_alone() -> None:
    small = np.random.default_rng(0).integers(0, 256, (64, 100, 3), np.uint8)
    larger, factor = enlarge(small)
    assert factor == 3 and larger.shape == (192, 300, 3)
    large = np.zeros((300, 400, 3), np.uint8)
    assert enlarge(large)[0] is large
    assert enlarge(small, EnlargeSettings(short_side_px=1))[0] is small
    assert enlargement_factor((8_000_000, 8), EnlargeSettings()) == 1  # else 12 GB


def test_a_strip_is_thickened_and_its_pixels_stay() -> None:
    strip = np.random.default_rng(0).integers(0, 256, (9, 1201, 3), np.uint8)
    assert thicken(strip).shape == (13, 1201, 3)
    assert np.array_equal(thicken(strip)[:9], strip)
    assert thicken(strip.swapaxes(0, 1)).shape == (1201, 13, 3)
    assert thicken(strip[:, :900]).shape == (9, 900, 3)


def test_unknown_readers_and_settings_are_user_errors() -> None:
    with pytest.raises(InputError, match="rapidocr"):
        open_engine("rapidocrr")
    with pytest.raises(InputError, match="canvas"):
        open_engine("rapidocr", canvas=3)


def test_a_library_that_does_not_load_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = "libGL.so.1: cannot open shared object file: No such file or directory"

    class NoOpenCv:
        def find_spec(self, name: str, *rest: object) -> None:
            if name == "rapidocr":
                raise ImportError(lost)

    monkeypatch.delitem(sys.modules, "rapidocr", raising=False)
    weights = {"Det": Path(__file__), "Rec": Path(__file__)}
    monkeypatch.setattr("datatools.ocr.rapidocr._find_weights", lambda: weights)
    monkeypatch.setattr(sys, "meta_path", [NoOpenCv(), *sys.meta_path])
    with pytest.raises(InputError, match=r"'rapidocr' cannot be opened: libGL\.so\.1") as caught:
        open_engine("rapidocr")
    assert caught.value.remedy is not None
    assert "libgl1" in caught.value.remedy
