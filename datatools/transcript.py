"""Text lines of a picture -> reading order -> transcription and safebox.

Reading order: lines are turned upright by their common angle, columns are read left to right, rows of a
column top to bottom, lines of a row left to right. Text that stands at another angle follows after the main
text.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # settings of a build are read without numpy and readers
    from datatools.ocr import TextLine

__all__ = ["TranscriptSettings", "keep_lines", "reading_order", "safebox", "transcription"]

_SAME_ANGLE = math.radians(30)  # lines further apart in angle are separate blocks of text
_ROW_OVERLAP = 0.5  # lines share a row when they overlap by this part of the lower one's height
_COLUMN_GAP = 1.5  # columns are apart by at least this many line heights


@dataclass(frozen=True, kw_only=True, slots=True)
class TranscriptSettings:
    """Which lines count, and how their text is written."""

    min_confidence: float = 0.5
    """Lines below this confidence (0..1) are kept in the catalog but not in transcription and safebox."""
    characters: Literal["printable", "any"] = "printable"
    """"printable": ASCII as the character tokenizer knows it; typographic forms are folded to it, what has no
    such form is left out. "any": as the reader says."""


_FOLDED = str.maketrans(
    {"‘": "'", "’": "'", "‚": ",", "“": '"', "”": '"', "„": '"', "–": "-", "—": "-", "−": "-", "•": "*"}
    | {
        "×": "x",
        "«": '"',
        "»": '"',
        "ß": "ss",
        "æ": "ae",
        "Æ": "AE",
        "ø": "o",
        "Ø": "O",
        "œ": "oe",
        "Œ": "OE",
    }
)


def keep_lines(
    lines: Iterable[TextLine], settings: TranscriptSettings = TranscriptSettings()
) -> list[TextLine]:
    """The lines that count under `settings`, their text cleaned; lines left without text are dropped."""
    kept = []
    for line in lines:
        text = _clean(line.text, settings.characters)
        if text and line.confidence >= settings.min_confidence:
            kept.append(replace(line, text=text))
    return kept


def _clean(text: str, characters: Literal["printable", "any"]) -> str:
    if characters == "printable":
        # NFKD takes full-width letters and ligatures to ASCII, and accents off letters.
        text = unicodedata.normalize("NFKD", text.translate(_FOLDED))
        text = "".join(c for c in text if " " <= c <= "~" or c.isspace())
    return " ".join(text.split())


def reading_order(lines: Sequence[TextLine]) -> list[list[TextLine]]:
    """Rows in reading order, each row's lines from its beginning to its end."""
    if not lines:
        return []
    angle = _common_angle(lines)
    main = [line for line in lines if _apart(_angle(line), angle) <= _SAME_ANGLE]
    rest = [line for line in lines if _apart(_angle(line), angle) > _SAME_ANGLE]
    upright = [_upright(line, angle) for line in main]
    return [[box.line for box in row] for row in _ordered(upright)] + reading_order(rest)


def transcription(lines: Sequence[TextLine], settings: TranscriptSettings | None = None) -> str:
    r"""The text of a picture: lines of a row joined by " ", rows by "\n", "" where there is no text.

    Args:
        lines: in any order.
        settings: which lines count; None keeps every line as it is.
    """
    kept = list(lines) if settings is None else keep_lines(lines, settings)
    return "\n".join(" ".join(line.text for line in row) for row in reading_order(kept))


def safebox(lines: Iterable[TextLine]) -> tuple[float, float, float, float] | None:
    """The rectangle (left, top, right, bottom), in pixels, around all `lines`; None without lines."""
    points = [point for line in lines for point in line.polygon]
    if not points:
        return None
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return min(xs), min(ys), max(xs), max(ys)


@dataclass(frozen=True, slots=True)
class _Box:
    """A line in the upright frame."""

    line: TextLine
    left: float
    top: float
    right: float
    bottom: float

    @property
    def height(self) -> float:
        return max(self.bottom - self.top, 1e-6)


def _angle(line: TextLine) -> float:
    (x0, y0), (x1, y1) = line.polygon[0], line.polygon[1]
    return math.atan2(y1 - y0, x1 - x0)


def _apart(a: float, b: float) -> float:
    return abs((a - b + math.pi) % (2 * math.pi) - math.pi)


def _common_angle(lines: Sequence[TextLine]) -> float:
    """The mean angle of the largest set of lines that agree, by length: an outlier does not turn a page."""
    import numpy as np

    angles = np.array([_angle(line) for line in lines])
    lengths = np.array([math.dist(line.polygon[0], line.polygon[1]) + 1e-6 for line in lines])
    agree = (np.abs((angles - angle + np.pi) % (2 * np.pi) - np.pi) <= _SAME_ANGLE for angle in angles)
    best = max(agree, key=lambda near: float(lengths[near].sum()))
    sine, cosine = (float(lengths[best] @ turn(angles[best])) for turn in (np.sin, np.cos))
    return math.atan2(sine, cosine)


def _upright(line: TextLine, angle: float) -> _Box:
    cos, sin = math.cos(-angle), math.sin(-angle)
    xs = [x * cos - y * sin for x, y in line.polygon]
    ys = [x * sin + y * cos for x, y in line.polygon]
    return _Box(line, min(xs), min(ys), max(xs), max(ys))


def _ordered(boxes: list[_Box]) -> list[list[_Box]]:
    """Recursive X-Y cut (Nagy and Seth 1984): columns, then a heading over or a footing under columns."""
    columns = _column_cut(boxes)
    if columns:
        return _ordered(columns[0]) + _ordered(columns[1])
    rows = _rows(boxes)
    for i in range(1, len(rows)):
        upper = [box for row in rows[:i] for box in row]
        lower = [box for row in rows[i:] for box in row]
        if _column_cut(upper) or _column_cut(lower):
            return _ordered(upper) + _ordered(lower)
    return rows


def _column_cut(boxes: list[_Box]) -> tuple[list[_Box], list[_Box]] | None:
    """Left and right part, where an empty strip is wider than what parts the rows of either side."""
    if len(boxes) < 4:  # two rows on each side, or there are no columns
        return None
    by_left = sorted(boxes, key=lambda box: box.left)
    least = _COLUMN_GAP * sorted(box.height for box in boxes)[len(boxes) // 2]
    reach = by_left[0].right
    for i, box in enumerate(by_left[1:], start=1):
        gap = box.left - reach
        if gap >= least:  # asked first: rows cost more, and most boxes of a page begin no column
            left, right = _rows(by_left[:i]), _rows(by_left[i:])
            if min(len(left), len(right)) > 1 and gap >= max(_row_gap(left), _row_gap(right)):
                return by_left[:i], by_left[i:]
        reach = max(reach, box.right)
    return None


def _row_gap(rows: Sequence[Sequence[_Box]]) -> float:
    """The widest space between neighbouring rows."""
    tops = [min(box.top for box in row) for row in rows]
    bottoms = [max(box.bottom for box in row) for row in rows]
    return max((top - bottom for top, bottom in zip(tops[1:], bottoms, strict=False)), default=0.0)


def _rows(boxes: list[_Box]) -> list[list[_Box]]:
    rows: list[list[_Box]] = []
    bottoms: list[float] = []  # the lowest of each row: a box wholly below it is not in that row
    for box in sorted(boxes, key=lambda box: (box.top + box.bottom, box.left)):
        near = (i for i in reversed(range(len(rows))) if bottoms[i] > box.top)
        home = next((i for i in near if any(_beside(box, other) for other in rows[i])), None)
        if home is None:
            rows.append([box])
            bottoms.append(box.bottom)
        else:
            rows[home].append(box)
            bottoms[home] = max(bottoms[home], box.bottom)
    return [sorted(row, key=lambda box: box.left) for row in rows]


def _beside(a: _Box, b: _Box) -> bool:
    overlap = min(a.bottom, b.bottom) - max(a.top, b.top)
    across = min(a.right, b.right) - max(a.left, b.left)
    # Lines that lie over one another, one above, are two rows however tightly they are set.
    stacked = across > 0.5 * min(a.right - a.left, b.right - b.left)
    return overlap >= _ROW_OVERLAP * min(a.height, b.height) and not stacked
