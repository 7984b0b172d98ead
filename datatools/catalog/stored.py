"""Text lines as the catalog stores them, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datatools.ocr import TextLine

__all__ = ["lines_from", "lines_to"]


def lines_to(lines: Sequence[TextLine]) -> list[dict[str, Any]]:
    """Rows of the column `lines`: the polygon flat, x0, y0, x1, y1, …"""
    return [
        {"polygon": [c for p in line.polygon for c in p], "text": line.text, "confidence": line.confidence}
        for line in lines
    ]


def lines_from(rows: Sequence[dict[str, Any]]) -> list[TextLine]:
    """The inverse of `lines_to`."""
    return [TextLine(_points(row["polygon"]), row["text"], row["confidence"]) for row in rows]


def _points(flat: Sequence[float]) -> tuple[tuple[float, float], ...]:
    return tuple(zip(flat[::2], flat[1::2], strict=True))
