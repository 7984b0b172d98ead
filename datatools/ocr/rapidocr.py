"""RapidOCR: PP-OCRv6 small in ONNX, weights bundled with the package (Apache-2.0). The default reader."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from datatools.errors import InputError
from datatools.ocr.engine import Picture, Polygon, TextLine, digest_of_files, polygon_from
from datatools.ocr.enlarge import EnlargeSettings, enlarge, thicken
from datatools.ocr.regions import cut_regions

__all__ = ["RapidOcrEngine", "RapidOcrSettings"]

_WEIGHTS = {"Det": "PP-OCRv6_det_small.onnx", "Rec": "PP-OCRv6_rec_small.onnx"}


class RapidOcrSettings(BaseModel):
    """What changes a reading of this engine, and how many threads it may use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enlarge: EnlargeSettings = EnlargeSettings()

    detection_side_px: int = Field(default=192, ge=32)
    """The detector sees the picture with its short side at least this long. RapidOCR's own 736 takes five
    times as long for small pictures and, beside `enlarge`, finds no more (docs/ocr.md)."""

    min_crop_px: int = Field(default=48, ge=16)
    """Text lines, 48 px high for the recogniser, are padded to this width. RapidOCR's own 320 doubles the
    work for short words and reads them no better."""

    n_threads: int = Field(default=1, ge=1, exclude=True)
    """Threads of one reader. Workers are processes, so one each. Changes no reading."""


class RapidOcrEngine:
    """PP-OCRv6 detection and recognition through onnxruntime."""

    name = "rapidocr"

    def __init__(self, settings: RapidOcrSettings) -> None:
        self._weights, self._given = _find_weights(), settings
        self.settings: Mapping[str, Any] = settings.model_dump()
        self.version = importlib.metadata.version("rapidocr")
        self.weights_digest = digest_of_files(self._weights.values())
        self._enlarge = settings.enlarge

    def twin(self) -> RapidOcrEngine:
        """Another one with the same settings, for another thread."""
        return RapidOcrEngine(self._given)

    def open(self) -> None:
        """Load the networks, if they are not loaded; `read` does it too."""
        _ = self._reader

    @cached_property
    def _reader(self) -> Any:
        # Pictures that were read before need the reader's name and digest alone.
        return _load(self._weights, self._given)

    def read(self, pictures: Sequence[Picture]) -> list[list[TextLine]]:
        """The text lines of each picture, see `OcrEngine.read`."""
        return [self._read_one(picture) for picture in pictures]

    def read_regions(
        self, pictures: Sequence[Picture], regions: Sequence[Sequence[Polygon]]
    ) -> list[list[TextLine]]:
        """What the recogniser sees in each region, see `RegionReader.read_regions`."""
        return [
            self._recognise(picture, list(those)) for picture, those in zip(pictures, regions, strict=True)
        ]

    def _recognise(self, picture: Picture, regions: list[Polygon]) -> list[TextLine]:
        if not regions:
            return []
        crops = cut_regions(picture, regions, self._enlarge)
        found = self._reader.recognize_txt([np.ascontiguousarray(crop[:, :, ::-1]) for crop in crops])
        return [
            TextLine(region, text.strip(), float(score))
            for region, text, score in zip(regions, found.txts, found.scores, strict=True)
        ]

    def _read_one(self, picture: Picture) -> list[TextLine]:
        larger, factor = enlarge(picture, self._enlarge)
        # RapidOCR takes arrays as OpenCV's BGR.
        found = self._reader(np.ascontiguousarray(thicken(larger)[:, :, ::-1]))
        if found.boxes is None:
            return []
        size_px = (picture.shape[1], picture.shape[0])
        return [
            TextLine(polygon_from(box, factor, size_px), text.strip(), float(score))
            for box, text, score in zip(found.boxes, found.txts, found.scores, strict=True)
            if text.strip()
        ]


def _find_weights() -> dict[str, Path]:
    reader, runtime = (importlib.util.find_spec(package) for package in ("rapidocr", "onnxruntime"))
    if reader is None or reader.origin is None or runtime is None:
        raise InputError("the reader 'rapidocr' is not installed", "pip install rapidocr onnxruntime")
    folder = Path(reader.origin).parent / "models"
    weights = {part: folder / name for part, name in _WEIGHTS.items()}
    missing = [str(path) for path in weights.values() if not path.is_file()]
    if missing:
        raise InputError(
            f"the reader 'rapidocr' has no weights: {', '.join(missing)}",
            "Its wheel carries them from rapidocr 3.10.0 on: pip install --force-reinstall 'rapidocr>=3.10'",
        )
    return weights


def _load(weights: Mapping[str, Path], settings: RapidOcrSettings) -> Any:
    from rapidocr import RapidOCR

    return RapidOCR(
        params={
            "Global.log_level": "error",
            "Global.text_score": 0.0,  # everything seen is handed over, see TextLine.confidence
            "Global.use_cls": False,  # turns lines by 180 degrees, for scanned pages; pictures stand upright
            "Det.model_path": str(weights["Det"]),  # a path, else it looks for downloads
            "Rec.model_path": str(weights["Rec"]),
            "Det.limit_side_len": settings.detection_side_px,
            # One crop at a time, as wide as it is: on a CPU a batch costs as much as its crops one by one,
            # and padding to the widest would let the reading of one line depend on the others.
            "Rec.rec_batch_num": 1,
            "Rec.rec_img_shape": [3, 48, settings.min_crop_px],
            "EngineConfig.onnxruntime.enable_cpu_mem_arena": True,
            "EngineConfig.onnxruntime.intra_op_num_threads": settings.n_threads,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )
