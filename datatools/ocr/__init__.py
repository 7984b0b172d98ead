"""Readers: pictures in, text lines out. Three engines behind one protocol."""

from __future__ import annotations

from datatools.ocr.engine import OcrEngine, Polygon, RegionReader, Repeatable, TextLine
from datatools.ocr.enlarge import EnlargeSettings, enlarge
from datatools.ocr.opening import ENGINES, check_reader, find_engine, make_ready, open_engine
from datatools.ocr.regions import REGION_MARGIN

__all__ = [
    "ENGINES",
    "REGION_MARGIN",
    "EnlargeSettings",
    "OcrEngine",
    "Polygon",
    "RegionReader",
    "Repeatable",
    "TextLine",
    "check_reader",
    "enlarge",
    "find_engine",
    "make_ready",
    "open_engine",
]
