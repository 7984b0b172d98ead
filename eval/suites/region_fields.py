"""Regions of text as people write them down: boxes or polygons -> four corners each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datatools.errors import InputError

if TYPE_CHECKING:  # prompts are read without readers
    from datatools.ocr import Polygon

__all__ = ["polygons_of"]


def polygons_of(rows: Any, where: str) -> tuple[Polygon, ...]:
    """Each row as four corners, clockwise from the top left.

    A row is `[left, top, right, bottom]`, or a list of points `[x, y]`. Four points are taken as they are, in
    the text's own orientation; any other number by their upright bounding box.

    Raises:
        InputError: a row that is neither; `where` names it.
    """
    if not isinstance(rows, list):
        raise InputError(f"{where}: boxes are no list", _REMEDY)
    return tuple(_polygon(row, where) for row in rows)


def _polygon(row: Any, where: str) -> Polygon:
    try:
        if len(row) == 4 and all(isinstance(value, int | float) for value in row):
            return _corners(*map(float, row))
        points = [(float(x), float(y)) for x, y in row]
        if len(points) == 4:
            return tuple(points)
        xs, ys = zip(*points, strict=True)
        return _corners(min(xs), min(ys), max(xs), max(ys))
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {row!r} is no box", _REMEDY) from error


def _corners(left: float, top: float, right: float, bottom: float) -> Polygon:
    if not (left < right and top < bottom):
        raise ValueError("a box without an area")
    return ((left, top), (right, top), (right, bottom), (left, bottom))


_REMEDY = "Write [left, top, right, bottom] in pixels, or four corners [x, y], one for each line of 'txt'."
