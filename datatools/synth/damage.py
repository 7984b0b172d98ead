"""What happens to pictures on their way: blur, noise, small copies, JPEG."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from PIL import Image, ImageFilter

from datatools.synth.chance import between, grain

__all__ = ["DAMAGES", "damage"]

Pixels = npt.NDArray[np.uint8]


def damage(rng: Generator, kind: str, pixels: Pixels) -> tuple[Pixels, str]:
    """The picture after one kind of damage, and the word that a caption has for it ("" for none)."""
    return DAMAGES[kind](rng, pixels)


def _none(rng: Generator, pixels: Pixels) -> tuple[Pixels, str]:
    return pixels, ""


def _blur(rng: Generator, pixels: Pixels) -> tuple[Pixels, str]:
    radius = between(rng, 0.4, 0.9)
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius))), "slightly blurred"


def _noise(rng: Generator, pixels: Pixels) -> tuple[Pixels, str]:
    noisy = pixels.astype(np.int16) + grain(rng, pixels.shape, int(rng.integers(6, 19)))
    return np.clip(noisy, 0, 255).astype(np.uint8), "grainy"


def _jpeg(rng: Generator, pixels: Pixels) -> tuple[Pixels, str]:
    stored = io.BytesIO()
    Image.fromarray(pixels).save(stored, "JPEG", quality=int(rng.integers(35, 91)))
    return np.asarray(Image.open(stored)), ""


def _shrunk(rng: Generator, pixels: Pixels) -> tuple[Pixels, str]:
    """Down and up again: the resolution that a thumbnail has lost."""
    size_px = pixels.shape[0]
    smaller = round(size_px * between(rng, 0.6, 0.9))
    small = Image.fromarray(pixels).resize((smaller, smaller), Image.Resampling.BILINEAR)
    return np.asarray(small.resize((size_px, size_px), Image.Resampling.BICUBIC)), "soft"


DAMAGES: dict[str, Callable[[Generator, Pixels], tuple[Pixels, str]]] = {
    "none": _none,
    "blur": _blur,
    "noise": _noise,
    "jpeg": _jpeg,
    "shrunk": _shrunk,
}
"""Every kind of damage by name."""
