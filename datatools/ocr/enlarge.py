"""Small pictures are enlarged before any reader sees them: one function, for catalog and evaluation alike."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict

from datatools.ocr.engine import Picture

__all__ = ["EnlargeSettings", "enlarge", "enlargement_factor", "thicken"]

_KERNELS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class EnlargeSettings(BaseModel):
    """How small pictures are enlarged. The defaults were chosen by a paired test (docs/ocr.md)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    short_side_px: int = 192
    """Enlarge until the short side has at least this many pixels; 1 leaves every picture as it is."""

    max_factor: int = 8
    """Never enlarge by more than this: beyond it there is nothing more to see."""

    max_long_side_px: int = 8192
    """Nor so far that the long side has more than this: a thin strip would take gigabytes."""

    kernel: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    """How pixels in between are found."""


def enlargement_factor(size_px: tuple[int, int], settings: EnlargeSettings) -> int:
    """The whole factor for a picture of this width and height. Whole, so that no pixel grid beats."""
    needed = -(-settings.short_side_px // max(1, min(size_px)))
    return max(1, min(needed, settings.max_factor, settings.max_long_side_px // max(size_px)))


def enlarge(picture: Picture, settings: EnlargeSettings | None = None) -> tuple[Picture, int]:
    """The picture as a reader should see it, and the factor by which it was enlarged.

    Args:
        picture: (H, W, 3) uint8 RGB.
        settings: None for the defaults.

    Returns:
        (H * factor, W * factor, 3) uint8 and factor. Factor 1 returns the picture itself.
    """
    settings = settings or EnlargeSettings()
    height, width = picture.shape[:2]
    factor = enlargement_factor((width, height), settings)
    if factor == 1:
        return picture, 1
    larger = Image.fromarray(picture).resize((width * factor, height * factor), _KERNELS[settings.kernel])
    return np.asarray(larger), factor


def thicken(picture: Picture, most: int = 100) -> Picture:
    """A picture more than `most` times as long as wide, or as wide as long, with ground added at its end.

    Readers shrink long pictures to a size of theirs, and such a one to nothing. Its pixels stay in place.
    """
    height, width = picture.shape[:2]
    n_missing = -(-max(height, width) // most) - min(height, width)
    if n_missing <= 0:
        return picture
    ends = ((0, n_missing), (0, 0), (0, 0)) if height < width else ((0, 0), (0, n_missing), (0, 0))
    return np.pad(picture, ends, mode="edge")
