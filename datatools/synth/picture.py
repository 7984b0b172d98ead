"""One synthetic picture, with everything that is known about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from datatools.synth.captions import describe
from datatools.synth.chance import generator_for, pick, pick_weighted
from datatools.synth.colours import COLOURS, contrast_ratio, luminance, pick_ink, shade
from datatools.synth.fonts import Face, faces, load_font
from datatools.synth.grounds import Ground, draw_ground
from datatools.synth.layout import Box, Layout, lay_out
from datatools.synth.options import Split, SynthOptions
from datatools.synth.profiles import PROFILES, InkStyle, Profile

__all__ = ["SynthLine", "SynthPicture", "make_picture"]

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SynthLine:
    """A line of text and the four corners around its ink, clockwise from the text's own top left, pixels."""

    text: str
    polygon: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class SynthPicture:
    """A picture and the truth about it.

    Attributes:
        image: (size, size, 3) uint8 RGB.
        text: lines joined by newlines, "" when there is no text.
        safebox: left, top, right, bottom around all lines, pixels; None when there is no text.
        facts: how it was made: font, letter height, kind of text, background, ink, contrast-relevant names.
    """

    image: Pixels
    text: str
    lines: tuple[SynthLine, ...]
    safebox: tuple[float, float, float, float] | None
    captions: tuple[str, ...]
    font: str
    profile: str
    split: Split
    facts: dict[str, Any]


def make_picture(options: SynthOptions, index: int) -> SynthPicture:
    """Picture number `index`: a function of the options' seed, size, profile, split and fonts, and of nothing
    else, so that any picture can be made alone.
    """
    rng = generator_for(options.seed, index)
    profile = PROFILES[options.profile]
    split = _draw_split(rng, options)
    face = _draw_face(rng, options, profile, split)
    held_out_words = split in ("test", "test-words")
    layout = lay_out(rng, profile, face, held_out_words, options.size_px)
    ground = draw_ground(rng, pick_weighted(rng, profile.grounds), options.size_px)
    if not layout.lines:
        captions = describe(rng, layout, ground, "", "flat", "")
        return _finish(options, split, layout, ground.pixels, captions, {"ground": ground.kind})
    style = pick_weighted(rng, profile.inks)
    pixels, panel = _with_panel(rng, ground, layout) if style == "panel" else (ground.pixels, "")
    ink = pick_ink(rng, _lightness_under(pixels, layout.box))
    pixels = _write(rng, pixels, layout, ink, style)
    captions = describe(rng, layout, ground, ink, style, panel)
    facts = {"ground": ground.kind, "ink": ink, "style": style}
    return _finish(options, split, layout, pixels, captions, facts)


def _draw_split(rng: Generator, options: SynthOptions) -> Split:
    drawn: Split = pick_weighted(rng, {"train": 0.9, "test-words": 0.04, "test-fonts": 0.02, "test": 0.04})
    return drawn if options.split == "all" else options.split


def _draw_face(rng: Generator, options: SynthOptions, profile: Profile, split: Split) -> Face:
    held_out = split in ("test", "test-fonts")
    usable = [face for face in faces(options.fonts_dir) if face.weight in profile.weights]
    # a folder of one family has nothing to hold out
    wanted = (
        [face for face in usable if face.held_out == held_out] or usable or list(faces(options.fonts_dir))
    )
    family = pick(rng, sorted({face.family for face in wanted}))
    return pick(rng, [face for face in wanted if face.family == family])


def _lightness_under(pixels: Pixels, box: Box) -> tuple[int, int]:
    """Luminance of the darkest and lightest parts of the ground under the text, all but one in ten."""
    left, top, right, bottom = box
    light = luminance(pixels[max(0, top) : bottom, max(0, left) : right]).reshape(-1)
    light = np.sort(light)
    return int(light[light.size // 20]), int(light[-1 - light.size // 20])


def _with_panel(rng: Generator, ground: Ground, layout: Layout) -> tuple[Pixels, str]:
    """A rounded panel behind the text, in a colour that stands out from the ground."""
    _, lightest = _lightness_under(ground.pixels, layout.box)
    light = {name: int(luminance(np.array(rgb, np.uint8))) for name, rgb in COLOURS.items()}
    name = pick(rng, [name for name in COLOURS if contrast_ratio(light[name], lightest) > 2.5])
    left, top, right, bottom = layout.box
    pad = max(3, layout.letter_px // 2)
    image = Image.fromarray(ground.pixels)
    area = (left - pad, top - pad, right + pad - 1, bottom + pad - 1)
    ImageDraw.Draw(image).rounded_rectangle(area, radius=pad, fill=shade(rng, name))
    return np.asarray(image), name


def _write(rng: Generator, pixels: Pixels, layout: Layout, ink: str, style: InkStyle) -> Pixels:
    mask = _mask(layout, pixels.shape[0])
    image = Image.fromarray(pixels)
    if style == "shadow":
        # a soft shadow in the opposite lightness would shrink the contrast; black or white widens it
        offset = max(1, layout.font_px // 14)
        dark = int(luminance(np.array(COLOURS[ink], np.uint8))) > 65535 // 5
        cast = Image.new("L", mask.size)
        cast.paste(mask, (offset, offset))
        cast = cast.filter(ImageFilter.GaussianBlur(offset)).point(lambda value: value * 3 // 5)
        image.paste((0, 0, 0) if dark else (255, 255, 255), mask=cast)
    image.paste(shade(rng, ink, 3), mask=mask)
    return np.asarray(image)


def _mask(layout: Layout, size_px: int) -> Image.Image:
    """How much ink lies on each pixel, 0 to 255."""
    mask = Image.new("L", (size_px, size_px))
    draw = ImageDraw.Draw(mask)
    font = load_font(layout.face.path, layout.font_px)
    for line in layout.lines:
        draw.text(line.origin, line.text, 255, font, anchor="ls")
    return mask


def _finish(
    options: SynthOptions,
    split: Split,
    layout: Layout,
    pixels: Pixels,
    captions: Sequence[str],
    facts: dict[str, Any],
) -> SynthPicture:
    lines = tuple(SynthLine(line.text, _corners(line.box)) for line in layout.lines)
    return SynthPicture(
        image=pixels,
        text="\n".join(line.text for line in lines),
        lines=lines,
        safebox=_around(lines),
        captions=tuple(captions),
        font=layout.face.name if lines else "",
        profile=options.profile,
        split=split,
        facts={"kind": layout.kind, "case": layout.case, "letter_px": layout.letter_px, **facts},
    )


def _corners(box: Box) -> tuple[tuple[float, float], ...]:
    left, top, right, bottom = map(float, box)
    return (left, top), (right, top), (right, bottom), (left, bottom)


def _around(lines: Sequence[SynthLine]) -> tuple[float, float, float, float] | None:
    if not lines:
        return None
    xs = [x for line in lines for x, _ in line.polygon]
    ys = [y for line in lines for _, y in line.polygon]
    return min(xs), min(ys), max(xs), max(ys)
