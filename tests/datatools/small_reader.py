"""A reader quick enough for tests that really reads pixels: text stands in the first row, one byte a pixel.

Pictures whose text begins with "!" make it misbehave, as foreign code does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from datatools.ocr import TextLine

OPENER = "small_reader:open_reader"
_LINE_HEIGHT_PX = 10


class SmallReader:
    """Reads what `draw` drew."""

    weights_digest = "none"

    def __init__(self, name: str) -> None:
        self.name = name
        self.version = os.environ.get("SMALL_READER_VERSION", "1")
        self.settings: Mapping[str, Any] = {"line_height_px": _LINE_HEIGHT_PX}

    def read(self, pictures: Sequence[np.ndarray]) -> list[list[TextLine]]:
        return [self._read_one(picture) for picture in pictures]

    def _read_one(self, picture: np.ndarray) -> list[TextLine]:
        text = bytes(picture[0, 1 : 1 + picture[0, 0, 0], 0]).decode("utf-8")
        if text == "!crash":
            os._exit(7)
        if text == "!hang":
            time.sleep(3600)
        if text == "!raise":
            raise ValueError("cannot read this")
        time.sleep(float(os.environ.get("SMALL_READER_SLEEP_S", "0")))
        if self.name == "shouting":
            text = text.upper()
        return [_line(row, number) for number, row in enumerate(text.split("\n")) if row]


def _line(text: str, number: int) -> TextLine:
    top, right = number * _LINE_HEIGHT_PX, 5.0 * len(text)
    bottom = top + 8.0
    polygon = ((0.0, float(top)), (right, float(top)), (right, bottom), (0.0, bottom))
    return TextLine(polygon, text, 0.9)


def open_reader(name: str) -> SmallReader:
    """What `open_engine` is to the real readers."""
    return SmallReader(name)


def draw(path: Path, text: str, grey: int = 128) -> Path:
    """A PNG of 64 x 32 pixels in which SmallReader reads `text`."""
    pixels = np.full((32, 64, 3), grey, np.uint8)
    data = text.encode("utf-8")
    pixels[0, 0] = len(data)
    pixels[0, 1 : 1 + len(data), 0] = list(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path
