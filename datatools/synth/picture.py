"""One synthetic picture, with everything that is known about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from datatools.synth.captions import Seen, describe
from datatools.synth.chance import generator_for, pick, pick_weighted
from datatools.synth.damage import damage
from datatools.synth.fonts import Face, faces
from datatools.synth.grounds import draw_ground
from datatools.synth.ink import Look, write_text
from datatools.synth.layout import Layout, PlacedLine, lay_out
from datatools.synth.options import Split, SynthOptions
from datatools.synth.profiles import PROFILES, Profile
from datatools.synth.warp import Warp, draw_warp, warp_box

__all__ = ["SynthLine", "SynthPicture", "make_picture"]

Pixels = npt.NDArray[np.uint8]

Polygon = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class SynthLine:
    """A line of text and the four corners around its ink, clockwise from the text's own top left, pixels.

    characters: the same around each of its characters, as wide as it is set and as tall as the line's ink.
    """

    text: str
    polygon: Polygon
    characters: tuple[Polygon, ...]


@dataclass(frozen=True, slots=True)
class SynthPicture:
    """A picture and the truth about it.

    Attributes:
        image: (size, size, 3) uint8 RGB.
        text: lines joined by newlines, "" when there is no text.
        safebox: left, top, right, bottom around all lines, pixels; None when there is no text.
        facts: how it was made: kind of text, letter height, ink, contrast, background, posture, damage.
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
    layout = lay_out(rng, profile, face, split in ("test", "test-words"), options.size_px)
    ground = draw_ground(rng, pick_weighted(rng, profile.grounds), options.size_px)
    pixels, look, warp = ground.pixels, None, None
    if layout.lines:
        warp = draw_warp(rng, profile, layout.box, options.size_px)
        style = pick_weighted(rng, profile.inks)
        pixels, look = write_text(rng, pixels, layout, warp, style)
    damaged = pick_weighted(rng, profile.damages)
    pixels, word = damage(rng, damaged, pixels)
    seen = Seen(_posture(warp, layout), word)
    lines = tuple(_synth_line(line, warp) for line in layout.lines)
    return SynthPicture(
        image=pixels,
        text="\n".join(line.text for line in lines),
        lines=lines,
        safebox=_around(lines),
        captions=tuple(describe(rng, layout, ground, look, seen)),
        font=face.name if lines else "",
        profile=options.profile,
        split=split,
        facts={**_facts(layout, look), "ground": ground.kind, "posture": seen.posture, "damage": damaged},
    )


def _synth_line(line: PlacedLine, warp: Warp | None) -> SynthLine:
    _, top, _, bottom = line.box
    boxes = [(left, top, right, bottom) for left, right in pairwise(line.edges)]
    return SynthLine(line.text, _corners(line.box, warp), tuple(_corners(box, warp) for box in boxes))


def _facts(layout: Layout, look: Look | None) -> dict[str, Any]:
    text = {"kind": layout.kind, "case": layout.case, "letter_px": layout.letter_px}
    if look is None:
        return {"kind": layout.kind}
    return {**text, "ink": look.ink, "style": look.style, "contrast": look.contrast}


def _posture(warp: Warp | None, layout: Layout) -> Literal["flat", "slanted", "curved"]:
    if warp is None:
        return "flat"
    # a bend is seen when it moves letters by a good part of their height
    return "curved" if abs(warp.bend_px) > layout.letter_px / 3 else "slanted"


def _draw_split(rng: Generator, options: SynthOptions) -> Split:
    drawn: Split = pick_weighted(rng, {"train": 0.9, "test-words": 0.04, "test-fonts": 0.02, "test": 0.04})
    return drawn if options.split == "all" else options.split


def _draw_face(rng: Generator, options: SynthOptions, profile: Profile, split: Split) -> Face:
    held_out = split in ("test", "test-fonts")
    usable = [face for face in faces(options.fonts_dir) if face.weight in profile.weights]
    if profile.families is not None:
        usable = [face for face in usable if face.family in profile.families and not face.italic] or usable
    # a folder of one family has nothing to hold out
    wanted = (
        [face for face in usable if face.held_out == held_out] or usable or list(faces(options.fonts_dir))
    )
    family = pick(rng, sorted({face.family for face in wanted}))
    return pick(rng, [face for face in wanted if face.family == family])


def _corners(box: tuple[float, float, float, float], warp: Warp | None) -> Polygon:
    if warp is not None:
        return warp_box(warp, box)
    left, top, right, bottom = map(float, box)
    return (left, top), (right, top), (right, bottom), (left, bottom)


def _around(lines: Sequence[SynthLine]) -> tuple[float, float, float, float] | None:
    if not lines:
        return None
    xs = [x for line in lines for x, _ in line.polygon]
    ys = [y for line in lines for _, y in line.polygon]
    return min(xs), min(ys), max(xs), max(ys)
