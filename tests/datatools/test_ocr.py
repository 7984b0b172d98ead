"""Readers: what they read, in whose pixels, and what they say when something is missing."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from datatools.errors import InputError
from datatools.ocr import EnlargeSettings, enlarge, open_engine
from datatools.ocr.engine import Picture


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


def test_an_empty_picture_has_no_lines() -> None:
    blank = np.full((48, 48, 3), 200, np.uint8)
    assert open_engine("rapidocr").read([blank, blank]) == [[], []]


def test_enlarge_is_a_whole_factor_and_leaves_large_pictures_alone() -> None:
    small = np.random.default_rng(0).integers(0, 256, (64, 100, 3), np.uint8)
    larger, factor = enlarge(small)
    assert factor == 4 and larger.shape == (256, 400, 3)
    large = np.zeros((300, 400, 3), np.uint8)
    assert enlarge(large)[0] is large
    assert enlarge(small, EnlargeSettings(short_side_px=1))[0] is small


def test_unknown_readers_and_settings_are_user_errors() -> None:
    with pytest.raises(InputError, match="rapidocr"):
        open_engine("rapidocrr")
    with pytest.raises(InputError, match="canvas"):
        open_engine("rapidocr", canvas=3)
