"""One picture: from the decoded file to the square of pixels the model sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from txtdiff.data.config import DataConfig
from txtdiff.data.crop import Box, borrowed, random_square, safebox_square, square_around

__all__ = ["Surroundings", "fit_square", "prepare_picture"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the crop needs to know of a picture besides its pixels."""

    has_text: bool
    safebox: Box | None = None
    px_scale: float = 1.0
    lender: tuple[Box, tuple[int, int]] | None = None
    """Another picture's safebox and (width, height), for pictures without text."""


def prepare_picture(
    pixels: NDArray[np.uint8],
    around: Surroundings,
    config: DataConfig,
    *,
    resolution_px: int,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Flip, crop and scale (H, W, 3) to (resolution_px, resolution_px, 3), all chances drawn from `rng`."""
    image = Image.fromarray(pixels)
    # Always drawn, so that a setting of flips does not shift the crops.
    flip = rng.random() < config.no_text.flip_probability
    if flip and not around.has_text:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    box = _choose_crop(image.size, around, config, resolution_px, rng)
    if box is not None:
        image = _cut(image, box)
        # As the fork: a crop is resized in one step, an uncropped picture by halving first.
        image = image.resize((resolution_px, resolution_px), Image.Resampling.BICUBIC)
    elif config.square == "around_text" and around.safebox is not None:
        largest = square_around(image.size, _inside(around.safebox, image.size), min(image.size), rng)
        image = image if largest is None else _cut(image, largest)
    return np.asarray(fit_square(image, resolution_px))


def _cut(image: Image.Image, box: Box) -> Image.Image:
    return image.crop((round(box.left), round(box.top), round(box.right), round(box.bottom)))


def _choose_crop(
    size_px: tuple[int, int],
    around: Surroundings,
    config: DataConfig,
    resolution_px: int,
    rng: np.random.Generator,
) -> Box | None:
    crop, no_text = config.crop, config.no_text
    own = not around.has_text and no_text.crop == "own"
    if rng.random() >= (no_text.probability if own else crop.probability):
        return None
    if own:
        return random_square(size_px, (no_text.min_area, no_text.max_area), rng)
    area = (crop.min_area, crop.max_area)
    safebox = around.safebox
    if not around.has_text:
        lender = around.lender if no_text.crop == "borrowed_safebox" else None
        safebox = None if lender is None else borrowed(*lender, size_px)
    if crop.around == "anywhere" or (not around.has_text and safebox is None):
        return random_square(size_px, area, rng)
    if safebox is None:
        return None  # text somewhere, nobody knows where: a crop could cut it
    safebox = _inside(safebox, size_px)
    return safebox_square(
        size_px, safebox, area, resolution_px=resolution_px, px_scale=around.px_scale, rng=rng
    )


def _inside(box: Box, size_px: tuple[int, int]) -> Box:
    """The part of `box` inside the picture: readers' polygons may reach a little beyond its edge."""
    width, height = size_px
    left, right = (min(max(x, 0.0), width) for x in (box.left, box.right))
    top, bottom = (min(max(y, 0.0), height) for y in (box.top, box.bottom))
    return Box(left, top, right, bottom)


def fit_square(image: Image.Image, resolution_px: int) -> Image.Image:
    """Scale the shorter edge to `resolution_px` and cut the central square (guided-diffusion's rule)."""
    while min(image.size) >= 2 * resolution_px:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = resolution_px / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    if size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - resolution_px) // 2, (size[1] - resolution_px) // 2
    return image.crop((left, top, left + resolution_px, top + resolution_px))
