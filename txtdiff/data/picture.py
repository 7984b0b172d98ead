"""One picture: what is taken of it, and the square of pixels the model sees."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from txtdiff.data.config import DataConfig
from txtdiff.data.crop import Box, borrowed, random_square, safebox_square, square_around

__all__ = ["Cut", "Surroundings", "cut_picture", "fit_square", "plan_cut"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the crop needs to know of a picture besides its pixels."""

    has_text: bool
    safebox: Box | None = None
    px_scale: float = 1.0
    lender: tuple[Box, tuple[int, int]] | None = None
    """Another picture's safebox and (width, height), for pictures without text."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What is taken of a picture, in pixels of the whole one after a flip."""

    size_px: tuple[int, int]
    """(width, height) of the whole picture."""
    flip: bool
    crop: Box | None = None
    """A square that is scaled in one step, as the fork did with crops; None: `part` is scaled by halving."""
    part: Box | None = None
    """The part that is scaled; None: the whole picture."""

    @property
    def edge_px(self) -> float:
        """Shorter edge of what is taken."""
        box = self.crop or self.part
        return min(self.size_px) if box is None else min(box.width, box.height)


def plan_cut(
    size_px: tuple[int, int],
    around: Surroundings,
    config: DataConfig,
    *,
    resolution_px: int,
    rng: np.random.Generator,
) -> Cut:
    """What to take of a picture of (width, height), all chances drawn from `rng`. Needs no pixels."""
    # Always drawn, so that a setting of flips does not shift the crops.
    flip = rng.random() < config.no_text.flip_probability and not around.has_text
    crop = _choose_crop(size_px, around, config, resolution_px, rng)
    if crop is not None or config.square == "centre" or around.safebox is None:
        return Cut(size_px, flip, crop)
    part = square_around(size_px, _inside(around.safebox, size_px), min(size_px), rng)
    return Cut(size_px, flip, None, part)


def cut_picture(pixels: NDArray[np.uint8], cut: Cut, resolution_px: int) -> NDArray[np.uint8]:
    """Flip, crop and scale (H, W, 3) to (resolution_px, resolution_px, 3).

    The pixels may be those of a reduced JPEG (`datatools.decode.decode`); the same part of it is taken.
    """
    image = Image.fromarray(pixels)
    if image.size != cut.size_px:
        return np.asarray(_cut_reduced(image, cut, resolution_px))
    if cut.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    box = cut.crop or cut.part
    if box is not None:
        image = image.crop((round(box.left), round(box.top), round(box.right), round(box.bottom)))
    if cut.crop is not None:
        image = image.resize((resolution_px, resolution_px), Image.Resampling.BICUBIC)
    return np.asarray(fit_square(image, resolution_px))


def _cut_reduced(image: Image.Image, cut: Cut, resolution_px: int) -> Image.Image:
    """The same part of a picture that is 2, 4 or 8 times smaller."""
    width, height = cut.size_px
    # A pixel holds step x step of the whole picture's; the last column and row may reach beyond its edge.
    step = next(n for n in (2, 4, 8) if image.size == (math.ceil(width / n), math.ceil(height / n)))
    box = cut.crop or cut.part or Box(0, 0, width, height)
    if cut.flip:
        box = Box(width - box.right, box.top, width - box.left, box.bottom)
    reduced = (box.left / step, box.top / step, box.right / step, box.bottom / step)
    if cut.crop is not None:
        image = image.resize((resolution_px, resolution_px), Image.Resampling.BICUBIC, reduced)
    else:  # where halving would have come to
        half = (round(box.width) // step, round(box.height) // step)
        image = image.resize(half, Image.Resampling.BOX, reduced)
    if cut.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return fit_square(image, resolution_px)


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
