"""Where to cut a picture: around its text, never through it. Geometry only; `picture.py` cuts pixels.

All boxes are (left, top, right, bottom) in pixels of the decoded picture, x to the right, y down.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Box", "borrowed", "random_square", "safebox_square", "square_around"]


class Box(NamedTuple):
    """A rectangle in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top


def safebox_square(
    size_px: tuple[int, int],
    safebox: Box,
    area: tuple[float, float],
    *,
    resolution_px: int,
    px_scale: float,
    rng: np.random.Generator,
) -> Box | None:
    """A random square that holds `safebox` whole, or None when the picture should stay as it is.

    The fork's crop (fork_spec 3.3), its rejection loop replaced by the uniform law it samples from.

    Args:
        size_px: (width, height) of the picture.
        area: smallest and largest area of the square, as fractions of the largest centred square's.
        resolution_px: edge of the model's pictures; a crop is not smaller, unless the picture is.
        px_scale: stored size / original size, the larger of both axes. Above 1 the file was enlarged, and
            the crop then never shows less than `resolution_px` of the original's pixels.
    """
    largest = min(size_px)
    smallest_edge = max(safebox.width, safebox.height, min(largest, resolution_px))
    if px_scale > 1:
        smallest_edge = max(smallest_edge, min(resolution_px * px_scale, largest))
    # May exceed area[1] for a large box; the draw then runs downwards from there, as in the fork.
    low = max(area[0], (smallest_edge / largest) ** 2)
    edge = largest * float(np.sqrt(low + rng.random() * (area[1] - low)))
    if edge <= smallest_edge or edge >= largest:
        return None
    return square_around(size_px, safebox, edge, rng)


def square_around(
    size_px: tuple[int, int], safebox: Box, edge_px: float, rng: np.random.Generator
) -> Box | None:
    """A square of this edge inside the picture and around `safebox`, uniform among all such, if any."""
    corner = []
    for low, high, size in zip(safebox[:2], safebox[2:], size_px, strict=True):
        first, last = max(0.0, high - edge_px), min(low, size - edge_px)
        if first > last:
            return None
        corner.append(float(rng.uniform(first, last)))
    left, top = corner
    return Box(left, top, left + edge_px, top + edge_px)


def random_square(size_px: tuple[int, int], area: tuple[float, float], rng: np.random.Generator) -> Box:
    """A random square anywhere: torchvision's RandomResizedCrop with ratio 1, in closed form.

    Args:
        area: smallest and largest area of the square, as fractions of the whole picture's.
    """
    width, height = size_px
    low, high = area[0] * width * height, min(area[1] * width * height, min(size_px) ** 2)
    if low > high:  # nothing in the range fits: the largest square, in the middle
        edge = min(size_px)
        left, top = (width - edge) // 2, (height - edge) // 2
    else:
        edge = min(*size_px, max(1, round(np.sqrt(rng.uniform(low, high)))))
        left, top = (int(rng.integers(0, size - edge, endpoint=True)) for size in size_px)
    return Box(left, top, left + edge, top + edge)


def borrowed(safebox: Box, from_size_px: tuple[int, int], size_px: tuple[int, int]) -> Box:
    """Another picture's safebox, at the same place and relative size in a picture of `size_px`.

    The fork took the other picture's pixel numbers as they were, which often lay outside.
    """
    sx, sy = size_px[0] / from_size_px[0], size_px[1] / from_size_px[1]
    return Box(safebox.left * sx, safebox.top * sy, safebox.right * sx, safebox.bottom * sy)
