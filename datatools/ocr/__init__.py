"""Readers: pictures in, text lines out. Three engines behind one protocol."""

from __future__ import annotations

from datatools.ocr.engine import OcrEngine, TextLine
from datatools.ocr.enlarge import EnlargeSettings, enlarge
from datatools.ocr.opening import ENGINES, open_engine

__all__ = ["ENGINES", "EnlargeSettings", "OcrEngine", "TextLine", "enlarge", "open_engine"]
