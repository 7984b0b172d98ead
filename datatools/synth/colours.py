"""Colours with names that captions can use, and how well one can be read upon another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from datatools.synth.chance import pick

__all__ = ["COLOURS", "Rgb", "contrast_ratio", "luminance", "pick_ink", "shade"]

Rgb = tuple[int, int, int]

COLOURS: dict[str, Rgb] = {
    "white": (252, 252, 250),
    "cream": (252, 244, 224),
    "light grey": (216, 218, 222),
    "charcoal": (46, 50, 58),
    "black": (16, 16, 20),
    "navy blue": (22, 36, 82),
    "blue": (36, 92, 196),
    "sky blue": (146, 202, 240),
    "teal": (14, 110, 116),
    "turquoise": (76, 200, 192),
    "green": (40, 128, 70),
    "dark green": (18, 68, 48),
    "mint green": (188, 234, 208),
    "olive green": (98, 104, 40),
    "yellow": (252, 214, 70),
    "pale yellow": (254, 242, 172),
    "orange": (242, 140, 40),
    "brown": (98, 60, 36),
    "tan": (216, 186, 142),
    "red": (200, 36, 42),
    "dark red": (118, 20, 32),
    "pink": (248, 172, 194),
    "magenta": (178, 36, 124),
    "purple": (94, 50, 148),
    "lavender": (208, 194, 242),
    "coral": (252, 132, 112),
    "peach": (255, 216, 188),
}

_VIVID = [name for name in COLOURS if name not in ("light grey", "charcoal", "black", "tan")]

MIN_CONTRAST = 4.5
"""Readable contrast of text: WCAG 2.1, success criterion 1.4.3."""


@cache
def _linear() -> npt.NDArray[np.int64]:
    """sRGB bytes as linear light, 0 to 65535 (IEC 61966-2-1)."""
    value = np.arange(256) / 255
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.rint(light * 65535), np.int64)


def luminance(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Relative luminance of (..., 3) bytes, 0 to 65535, in whole numbers so that machines agree."""
    red, green, blue = (_linear()[rgb[..., channel]] for channel in range(3))
    return np.asarray((2126 * red + 7152 * green + 722 * blue) // 10000)


def contrast_ratio(one: int, other: int) -> float:
    """WCAG contrast of two luminances, 1 to 21."""
    lighter, darker = max(one, other), min(one, other)
    return (lighter + 0.05 * 65535) / (darker + 0.05 * 65535)


def shade(rng: Generator, name: str, spread: int = 8) -> Rgb:
    """A colour of that name, a little to one side of it."""
    moved = [min(255, max(0, c + int(rng.integers(-spread, spread + 1)))) for c in COLOURS[name]]
    return (moved[0], moved[1], moved[2])


def pick_ink(rng: Generator, ground: Sequence[int]) -> str:
    """The name of a colour that reads well upon a ground.

    Args:
        ground: luminances of the darkest and the lightest parts that the text will lie on.
    """
    contrast = {
        name: min(contrast_ratio(int(luminance(np.array(rgb, np.uint8))), light) for light in ground)
        for name, rgb in COLOURS.items()
    }
    readable = [name for name in COLOURS if contrast[name] >= MIN_CONTRAST]
    vivid = [name for name in readable if name in _VIVID]
    if not readable:
        return max(contrast, key=lambda name: contrast[name])
    return pick(rng, vivid if vivid and rng.integers(4) else readable)
