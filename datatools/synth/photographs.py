"""Photographs to write upon: those that scikit-image carries and that are free of rights and of text."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from PIL import Image, ImageOps

from datatools.errors import InputError
from datatools.synth.chance import between, pick

__all__ = ["PHOTOGRAPHS", "draw_photograph"]

# File and subject. CC0: brick, camera, chelsea, coffee, grass, gravel. Public domain: hubble_deep_field
# (NASA), rocket (SpaceX). Left out: astronaut and clock_motion, which show writing of their own; motorcycle,
# whose licence is not stated.
PHOTOGRAPHS = {
    "brick.png": "a brick wall",
    "camera.png": "a man with a camera in black and white",
    "chelsea.png": "a tabby cat",
    "coffee.png": "a cup of coffee",
    "grass.png": "grey grass",
    "gravel.png": "grey gravel",
    "hubble_deep_field.jpg": "galaxies in a dark sky",
    "rocket.jpg": "a rocket at its launch",
}

_LARGEST_PX = 512  # photographs are kept at this short side: text pictures are small


def draw_photograph(rng: Generator, size_px: int) -> tuple[npt.NDArray[np.uint8], str]:
    """A square piece of a photograph, a little lighter or darker than it is, and its phrase for captions."""
    name = pick(rng, list(PHOTOGRAPHS))
    photograph = _load(name)
    side = round(between(rng, 0.35, 1.0) * min(photograph.size))
    left = int(rng.integers(photograph.width - side + 1))
    top = int(rng.integers(photograph.height - side + 1))
    box = (left, top, left + side, top + side)
    piece = photograph.resize((size_px, size_px), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
    if rng.integers(2):
        piece = ImageOps.mirror(piece)
    light = int(rng.integers(150, 290))
    pixels = np.asarray(piece).astype(np.int32) * light // 256
    return np.minimum(pixels, 255).astype(np.uint8), f"a photograph of {PHOTOGRAPHS[name]}"


@cache
def _load(name: str) -> Image.Image:
    spec = importlib.util.find_spec("skimage")
    path = Path(spec.origin).parent / "data" / name if spec is not None and spec.origin else Path(name)
    if not path.is_file():
        raise InputError(f"the photograph {name} of scikit-image is missing", "pip install scikit-image")
    image = Image.open(path).convert("RGB")
    shrink = _LARGEST_PX / min(image.size)
    if shrink < 1:
        image = image.resize((round(image.width * shrink), round(image.height * shrink)))
    return image
