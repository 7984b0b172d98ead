"""EasyOCR: CRAFT detection and the english_g2 recogniser, driven in batches rather than by `readtext`."""

from __future__ import annotations

import importlib.metadata
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from datatools.ocr.easyocr_weights import find_weights, load_reader
from datatools.ocr.engine import Picture, TextLine, digest_of_files, polygon_from
from datatools.ocr.enlarge import EnlargeSettings, enlarge

__all__ = ["EasyOcrEngine", "EasyOcrSettings"]

_CROP_HEIGHT_PX = 64  # easyocr.config.imgH: the height english_g2 was trained on


class EasyOcrSettings(BaseModel):
    """What changes a reading of this engine, and how it is run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enlarge: EnlargeSettings = EnlargeSettings()

    canvas_px: int = Field(default=1280, ge=64)
    """The detector sees pictures shrunk to at most this long side. EasyOCR's own 2560 is for scans."""

    min_box_px: int = Field(default=10, ge=1)
    """Boxes smaller than this on both sides, in the enlarged picture, are no text. EasyOCR's own: 20."""

    weights_dir: str | None = Field(default=None, exclude=True)
    """A folder with craft_mlt_25k.pth and english_g2.pth. None: the offline package, else EasyOCR's own."""

    n_threads: int = Field(default=1, ge=1, exclude=True)
    """Threads of torch in this process. Changes no reading."""

    recognition_batch: int = Field(default=32, ge=1, exclude=True)
    """Crops, of any pictures, that the recogniser sees at once. Changes no reading."""


@dataclass(frozen=True)
class _Crop:
    """A text box cut out of picture number `picture`, in grey, ready for the recogniser."""

    picture: int
    corners: Any
    grey: npt.NDArray[np.uint8]
    padded_width_px: int


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
        """The text lines of each picture, see `OcrEngine.read`."""
        enlarged = [enlarge(picture, self._given.enlarge) for picture in pictures]
        lines: list[list[TextLine]] = [[] for _ in pictures]
        with _few_threads(self._given.n_threads):
            crops = [crop for i, (picture, _) in enumerate(enlarged) for crop in self._detect(i, picture)]
            answers = self._recognise(crops)
        for crop, text, confidence in answers:
            height, width = pictures[crop.picture].shape[:2]
            polygon = polygon_from(crop.corners, enlarged[crop.picture][1], (width, height))
            if text.strip():
                lines[crop.picture].append(TextLine(polygon, text.strip(), confidence))
        return lines

    def _detect(self, number: int, picture: Picture) -> list[_Crop]:
        from easyocr.utils import get_image_list, reformat_input

        colour, grey = reformat_input(picture)
        boxes, slanted = self._reader.detect(
            colour, canvas_size=self._given.canvas_px, min_size=self._given.min_box_px, reformat=False
        )
        crops = []
        # One box at a time, as `Reader.recognize` does on a CPU: the padded width of a crop, which the
        # recogniser's answer depends on, is then its own and not that of its widest neighbour.
        for straight, free in [([box], []) for box in boxes[0]] + [([], [box]) for box in slanted[0]]:
            images, width_px = get_image_list(straight, free, grey, model_height=_CROP_HEIGHT_PX)
            crops += [_Crop(number, corners, image, int(width_px)) for corners, image in images]
        return crops

    def _recognise(self, crops: Sequence[_Crop]) -> list[tuple[_Crop, str, float]]:
        """Crops of the same padded width go through the recogniser together, whatever picture they are of."""
        from easyocr.recognition import get_text

        reader = self._reader
        ignored = "".join(sorted(set(reader.character) - set(reader.lang_char)))
        by_width: dict[int, list[_Crop]] = defaultdict(list)
        for crop in crops:
            by_width[crop.padded_width_px].append(crop)
        answers: list[tuple[_Crop, str, float]] = []
        for width_px, alike in sorted(by_width.items()):
            read = get_text(
                reader.character,
                _CROP_HEIGHT_PX,
                width_px,
                reader.recognizer,
                reader.converter,
                [(crop, crop.grey) for crop in alike],
                ignored,
                batch_size=self._given.recognition_batch,
                workers=0,
                device=reader.device,
            )
            answers += [(crop, text, float(confidence)) for crop, text, confidence in read]
        return answers


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
