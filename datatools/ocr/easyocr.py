"""EasyOCR: CRAFT detection and the english_g2 recogniser, the detector at a size that suits the picture."""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from datatools.ocr.easyocr_weights import find_weights, load_reader
from datatools.ocr.engine import Picture, Polygon, TextLine, digest_of_files, polygon_from
from datatools.ocr.enlarge import EnlargeSettings, enlarge, thicken
from datatools.ocr.regions import cut_regions

__all__ = ["EasyOcrEngine", "EasyOcrSettings"]


class EasyOcrSettings(BaseModel):
    """What changes a reading of this engine, and how it is run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enlarge: EnlargeSettings = EnlargeSettings()

    detection_shrink: float = Field(default=2.0, ge=1)
    """The detector, most of the cost, sees the picture this many times smaller than it came; text is then cut
    out of the picture as it was enlarged."""

    min_detection_px: int = Field(default=192, ge=32)
    """But its short side at least this long, where the picture came with as much: smaller ones are seen as
    they came (docs/ocr.md)."""

    least_detection_px: int = Field(default=64, ge=32)
    """The smallest of all are seen enlarged to this short side; 192 finds a little more in small pictures and
    takes up to three times as long."""

    max_detection_px: int = Field(default=1280, ge=64)
    """And its long side never longer than this. EasyOCR's own limit, 2560, is for scans."""

    min_box_px: int = Field(default=10, ge=1)
    """Boxes smaller than this on both sides, in the enlarged picture, are no text. EasyOCR's own: 20."""

    weights_dir: str | None = Field(default=None, exclude=True)
    """A folder with craft_mlt_25k.pth and english_g2.pth. None: the offline package, else EasyOCR's own."""

    n_threads: int = Field(default=1, ge=1, exclude=True)
    """Threads of torch while reading. Changes no reading."""


class EasyOcrEngine:
    """EasyOCR for English."""

    name = "easyocr"

    def __init__(self, settings: EasyOcrSettings) -> None:
        weights = find_weights(settings.weights_dir)
        self._reader = load_reader(weights)
        self.settings: Mapping[str, Any] = settings.model_dump()
        self.version = importlib.metadata.version("easyocr")
        self.weights_digest = digest_of_files(weights)
        self._given = settings

    def read(self, pictures: Sequence[Picture]) -> list[list[TextLine]]:
        """The text lines of each picture, see `OcrEngine.read`.

        One picture and one crop at a time. Batches of crops, of one picture or of several, were measured: the
        recogniser is at most a third faster, a twentieth of the whole, and its quantised layers then let the
        confidence of a line depend on the others in the batch.
        """
        with _few_threads(self._given.n_threads):
            return [self._read_one(picture) for picture in pictures]

    def read_regions(
        self, pictures: Sequence[Picture], regions: Sequence[Sequence[Polygon]]
    ) -> list[list[TextLine]]:
        """What the recogniser sees in each region, see `RegionReader.read_regions`."""
        with _few_threads(self._given.n_threads):
            return [
                [
                    self._recognise(crop, region)
                    for crop, region in zip(
                        cut_regions(picture, list(those), self._given.enlarge), those, strict=True
                    )
                ]
                for picture, those in zip(pictures, regions, strict=True)
            ]

    def _recognise(self, crop: Picture, region: Polygon) -> TextLine:
        # Without boxes it takes the whole of what it is given for one line.
        [(_, text, confidence)] = self._reader.recognize(crop) or [(None, "", 0.0)]
        return TextLine(region, text.strip(), float(confidence))

    def _read_one(self, picture: Picture) -> list[TextLine]:
        larger, factor = enlarge(picture, self._given.enlarge)
        found = self._reader.readtext(
            thicken(larger), canvas_size=self._canvas_px(picture), min_size=self._given.min_box_px
        )
        size_px = (picture.shape[1], picture.shape[0])
        return [
            TextLine(polygon_from(corners, factor, size_px), text.strip(), float(confidence))
            for corners, text, confidence in found
            if text.strip()
        ]

    def _canvas_px(self, picture: Picture) -> int:
        """The long side of what the detector sees of a picture, given as it came."""
        given, (short_px, long_px) = self._given, sorted(map(int, picture.shape[:2]))
        factor = max(
            1 / given.detection_shrink,
            min(1, given.min_detection_px / short_px),
            given.least_detection_px / short_px,
        )
        return min(round(long_px * factor), given.max_detection_px)


@contextmanager
def _few_threads(n_threads: int) -> Iterator[None]:
    """torch's threads are the whole process's: others in it get theirs back.

    EasyOCR's data loader warns about pinned memory once a call; that is dropped.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*pin_memory.*")
            yield
    finally:
        torch.set_num_threads(before)
