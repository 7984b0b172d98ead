"""What every reader is: a name, a version, weights, settings, and `read`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

__all__ = [
    "OcrEngine",
    "Openable",
    "Picture",
    "Polygon",
    "RegionReader",
    "Repeatable",
    "TextLine",
    "digest_of_files",
    "polygon_from",
]

Picture = npt.NDArray[np.uint8]
"""(H, W, 3) RGB."""

Polygon = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class TextLine:
    """One piece of text as a reader saw it.

    Attributes:
        polygon: four points, pixels of the picture, clockwise from the text's own top left.
        text: what stands there, without surrounding blanks; empty only for a region that was given
            (`RegionReader`) and in which nothing was read.
        confidence: the reader's own, 0 to 1. Readers hand over everything they saw: a threshold is a
            matter of whoever uses the lines, so that it can be changed without reading again.
    """

    polygon: Polygon
    text: str
    confidence: float


class OcrEngine(Protocol):
    """A reader. Name, version, weights digest and settings together are the identity of a reading."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def weights_digest(self) -> str: ...

    @property
    def settings(self) -> Mapping[str, Any]: ...

    def read(self, pictures: Sequence[Picture]) -> list[list[TextLine]]:
        """The text lines of each picture, in the picture's own pixels, in no promised order.

        What is read in a picture does not depend on the pictures that are handed over with it.
        """
        ...


@runtime_checkable
class Repeatable(Protocol):
    """A reader that keeps to one thread, of which there can be several side by side."""

    def twin(self) -> OcrEngine:
        """Another one with the same settings and networks of its own."""
        ...


@runtime_checkable
class Openable(Protocol):
    """A reader that loads its networks late."""

    def open(self) -> None:
        """Load them now."""
        ...


@runtime_checkable
class RegionReader(Protocol):
    """A reader that can be told where text stands: its recogniser alone, without its detector."""

    def read_regions(
        self, pictures: Sequence[Picture], regions: Sequence[Sequence[Polygon]]
    ) -> list[list[TextLine]]:
        """One line for each region of each picture, in the order of the regions.

        Args:
            regions: per picture four corners each, in its pixels, clockwise from the text's own top left.
        """
        ...


def digest_of_files(paths: Iterable[Path]) -> str:
    """sha256 over the names and contents of weights files, in the order of their names."""
    total = hashlib.sha256()
    for path in sorted(paths, key=lambda path: path.name):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.name} {content}\n".encode())
    return total.hexdigest()


def polygon_from(points: npt.ArrayLike, scale: float, size_px: tuple[int, int]) -> Polygon:
    """A reader's (4, 2) corner points as a polygon of the picture as given.

    Args:
        points: corners in pixels of the enlarged picture.
        scale: how much larger the enlarged picture is.
        size_px: width and height of the picture as given; corners are clipped to it.
    """
    corners = np.clip(np.asarray(points, np.float64).reshape(4, 2) / scale, 0, size_px)
    return tuple((round(float(x), 2), round(float(y), 2)) for x, y in corners)
