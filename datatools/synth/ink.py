"""From a laid-out text to pixels: a mask of ink, a colour that can be read, a panel, shadow or outline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from datatools.synth.chance import pick
from datatools.synth.colours import COLOURS, MIN_CONTRAST, contrast_ratio, luminance, pick_ink, shade
from datatools.synth.fonts import load_font
from datatools.synth.layout import Layout
from datatools.synth.profiles import InkStyle
from datatools.synth.warp import Warp, warp_mask

__all__ = ["Look", "write_text"]

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Look:
    """How text was written: the ink's colour, its style, the panel's colour or "", its contrast (WCAG)."""

    ink: str
    style: InkStyle
    panel: str
    contrast: float


def write_text(
    rng: Generator, ground: Pixels, layout: Layout, warp: Warp | None, style: InkStyle
) -> tuple[Pixels, Look]:
    """Write a text upon a ground, in a colour that can be read there.

    Where the ground is too uneven for any colour, flat and shadowed text gets an outline instead.
    """
    mask = _mask(layout, ground.shape[0], warp, stroke_px=0)
    pixels, panel = (ground, "")
    if style == "panel":
        pixels, panel = _with_panel(rng, ground, layout, mask, warp)
    under = _lightness_under(pixels, mask)
    ink = pick_ink(rng, under)
    contrast = min(contrast_ratio(_light(ink), light) for light in under)
    if contrast < MIN_CONTRAST and style in ("flat", "shadow"):
        style = "outline"
    image = Image.fromarray(pixels)
    if style == "shadow":
        _cast_shadow(image, mask, layout, ink)
    if style == "outline":
        stroke = _mask(layout, ground.shape[0], warp, stroke_px=max(1, layout.font_px // 12))
        edge = "black" if _light(ink) > _MIDDLE else "white"
        image.paste(COLOURS[edge], mask=stroke)
        contrast = contrast_ratio(_light(ink), _light(edge))
    image.paste(shade(rng, ink, 3), mask=mask)
    return np.asarray(image), Look(ink, style, panel, round(contrast, 2))


_MIDDLE = 65535 * 18 // 100  # the luminance from which black contrasts more than white


def _light(name: str) -> int:
    return int(luminance(np.array(COLOURS[name], np.uint8)))


def _mask(layout: Layout, size_px: int, warp: Warp | None, stroke_px: int) -> Image.Image:
    """How much ink lies on each pixel, 0 to 255."""
    mask = Image.new("L", (size_px, size_px))
    draw = ImageDraw.Draw(mask)
    font = load_font(layout.face.path, layout.font_px)
    for line in layout.lines:
        draw.text(line.origin, line.text, 255, font, anchor="ls", stroke_width=stroke_px)
    return mask if warp is None else warp_mask(warp, mask)


def _lightness_under(pixels: Pixels, mask: Image.Image) -> tuple[int, int]:
    """Luminance of the darkest and lightest parts of the ground at and beside the ink, all but one in ten."""
    near = np.asarray(mask.filter(ImageFilter.MaxFilter(3))) > 0
    light = np.sort(luminance(pixels[near]))
    return int(light[light.size // 20]), int(light[-1 - light.size // 20])


def _with_panel(
    rng: Generator, ground: Pixels, layout: Layout, mask: Image.Image, warp: Warp | None
) -> tuple[Pixels, str]:
    """A rounded panel behind the text, in a colour that stands out from the ground."""
    darkest, lightest = _lightness_under(ground, mask)
    against = lightest if lightest - _MIDDLE > _MIDDLE - darkest else darkest
    name = pick(rng, [name for name in COLOURS if contrast_ratio(_light(name), against) > 2.5])
    left, top, right, bottom = layout.box
    pad = max(3, layout.letter_px // 2)
    panel = Image.new("L", mask.size)
    area = (left - pad, top - pad, right + pad - 1, bottom + pad - 1)
    ImageDraw.Draw(panel).rounded_rectangle(area, radius=pad, fill=255)
    image = Image.fromarray(ground)
    image.paste(shade(rng, name), mask=panel if warp is None else warp_mask(warp, panel))
    return np.asarray(image), name


def _cast_shadow(image: Image.Image, mask: Image.Image, layout: Layout, ink: str) -> None:
    # a shadow as light as the ink would blur it; the opposite lightness sets it off
    offset = max(1, layout.font_px // 14)
    cast = Image.new("L", mask.size)
    cast.paste(mask, (offset, offset))
    cast = cast.filter(ImageFilter.GaussianBlur(offset)).point(lambda value: value * 3 // 5)
    image.paste(COLOURS["black"] if _light(ink) > _MIDDLE else COLOURS["white"], mask=cast)
