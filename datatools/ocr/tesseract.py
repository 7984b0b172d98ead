"""Tesseract through its own program: no Python package needed, one process for a whole batch of pictures."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from datatools.errors import InputError
from datatools.ocr.engine import Picture, Polygon, TextLine, digest_of_files, polygon_from
from datatools.ocr.enlarge import EnlargeSettings, enlarge
from datatools.ocr.regions import cut_regions

__all__ = ["TesseractEngine", "TesseractSettings"]

_REMEDY = "apt-get install tesseract-ocr tesseract-ocr-eng (or your system's packages of that name)"


class TesseractSettings(BaseModel):
    """What changes a reading of this engine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enlarge: EnlargeSettings = EnlargeSettings()

    page_mode: Literal["block", "sparse"] = "sparse"
    """Where it looks: one block of text (--psm 6), or text anywhere in the picture (--psm 11)."""

    timeout_s: float = Field(default=60, gt=0, exclude=True)
    """Seconds that one picture may take."""


class TesseractEngine:
    """Tesseract's LSTM recogniser for English, the `eng` data that is installed with it."""

    name = "tesseract"

    def __init__(self, settings: TesseractSettings) -> None:
        self._program = _find_program()
        self.version = _version(self._program)
        self.weights_digest = digest_of_files([_find_data(self._program)])
        self.settings: Mapping[str, Any] = settings.model_dump()
        self._given = settings

    def read(self, pictures: Sequence[Picture]) -> list[list[TextLine]]:
        """The text lines of each picture, see `OcrEngine.read`."""
        enlarged = [enlarge(picture, self._given.enlarge) for picture in pictures]
        mode = {"block": "6", "sparse": "11"}[self._given.page_mode]
        pages = self._run([picture for picture, _ in enlarged], mode) if pictures else {}
        sizes = [(picture.shape[1], picture.shape[0]) for picture in pictures]
        return [
            _lines(pages.get(number, []), factor, size_px)
            for number, ((_, factor), size_px) in enumerate(zip(enlarged, sizes, strict=True), start=1)
        ]

    def read_regions(
        self, pictures: Sequence[Picture], regions: Sequence[Sequence[Polygon]]
    ) -> list[list[TextLine]]:
        """What stands in each region as one line (--psm 7), see `RegionReader.read_regions`."""
        crops = [
            crop
            for picture, those in zip(pictures, regions, strict=True)
            for crop in cut_regions(picture, list(those), self._given.enlarge)
        ]
        pages = self._run(crops, "7") if crops else {}
        numbers = iter(range(1, len(crops) + 1))
        return [[_region_line(region, pages.get(next(numbers), [])) for region in those] for those in regions]

    def _run(self, pictures: Sequence[Picture], mode: str) -> dict[int, list[dict[str, str]]]:
        """Words by page number, counted from 1: tesseract reads a list of files as pages of one document."""
        with tempfile.TemporaryDirectory(prefix="txtdiff-tesseract-") as name:
            folder = Path(name)
            files = [folder / f"{number}.ppm" for number in range(len(pictures))]
            for file, picture in zip(files, pictures, strict=True):
                Image.fromarray(picture).save(file)
            listing = folder / "list.txt"
            listing.write_text("\n".join(map(str, files)))
            # No dpi stands in a picture; 70 is what tesseract itself assumes, with a warning for each.
            command = [self._program, str(listing), "-", "-l", "eng", "--psm", mode, "--dpi", "70", "tsv"]
            done = _call(command, timeout_s=self._given.timeout_s * len(pictures))
        pages: dict[int, list[dict[str, str]]] = defaultdict(list)
        for row in csv.DictReader(done.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE):
            if row["level"] == "5" and row["text"].strip():
                pages[int(row["page_num"])].append(row)
        return pages


def _lines(words: Sequence[dict[str, str]], factor: int, size_px: tuple[int, int]) -> list[TextLine]:
    by_line: dict[tuple[str, ...], list[dict[str, str]]] = defaultdict(list)
    for word in words:
        by_line[(word["block_num"], word["par_num"], word["line_num"])].append(word)
    return [_line(words, factor, size_px) for words in by_line.values()]


def _region_line(region: Polygon, words: Sequence[dict[str, str]]) -> TextLine:
    text = " ".join(word["text"].strip() for word in words)
    confidence = sum(float(word["conf"]) for word in words) / max(len(words), 1) / 100
    return TextLine(region, text, min(1.0, max(0.0, confidence)))


def _line(words: Sequence[dict[str, str]], factor: int, size_px: tuple[int, int]) -> TextLine:
    left, top = (min(int(word[side]) for word in words) for side in ("left", "top"))
    right = max(int(word["left"]) + int(word["width"]) for word in words)
    bottom = max(int(word["top"]) + int(word["height"]) for word in words)
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    confidence = sum(float(word["conf"]) for word in words) / len(words) / 100
    text = " ".join(word["text"].strip() for word in words)
    return TextLine(polygon_from(corners, factor, size_px), text, min(1.0, max(0.0, confidence)))


def _find_program() -> str:
    program = shutil.which("tesseract")
    if program is None:
        raise InputError("the program 'tesseract' is not installed", _REMEDY)
    return program


def _version(program: str) -> str:
    said = re.search(r"tesseract v?(\S+)", _call([program, "--version"], timeout_s=30))
    return said[1] if said else "unknown"


def _find_data(program: str) -> Path:
    said = re.search(r'in "([^"]+)"', _call([program, "--list-langs"], timeout_s=30))
    data = Path(said[1] if said else "") / "eng.traineddata"
    if not data.is_file():
        raise InputError("tesseract has no English data (eng.traineddata)", _REMEDY)
    return data


def _call(command: Sequence[str], timeout_s: float) -> str:
    """Standard output of a command, UTF-8. Threads off: workers are processes."""
    environment = {**os.environ, "OMP_THREAD_LIMIT": "1"}
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout_s, env=environment, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError(f"tesseract did not run: {error}", _REMEDY) from error
    return done.stdout.decode("utf-8", errors="replace")
