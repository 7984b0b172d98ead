"""Sentences that say what is seen: colours, style, position, background. Never the text itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from numpy.random import Generator

from datatools.synth.chance import pick
from datatools.synth.fonts import Face
from datatools.synth.grounds import Ground
from datatools.synth.ink import Look
from datatools.synth.layout import Layout

__all__ = ["Seen", "describe"]

_COUNTS = ("no lines", "one line", "two lines", "three lines", "four lines", "many lines")


@dataclass(frozen=True, slots=True)
class Seen:
    """What else is seen: how the text lies, and the word for a damaged picture, or ""."""

    posture: Literal["flat", "slanted", "curved"] = "flat"
    damage: str = ""


def describe(rng: Generator, layout: Layout, ground: Ground, look: Look | None, seen: Seen) -> list[str]:
    """Two captions, a full one and a short one. `look` is None when there is no text."""
    damaged = f"{seen.damage} picture of " if seen.damage else ""
    if look is None:
        return [f"{_article(damaged)}{ground.phrase} without any text", "a picture without text"]
    what = f"{look.ink} {_content(layout)}"
    letters = f"{_posture(seen)}{_letters(layout.face)}"
    upon = f"on a {look.panel} panel over {ground.phrase}" if look.panel else f"on {ground.phrase}"
    extra = {"shadow": " with a soft shadow", "outline": " with an outline"}.get(look.style, "")
    count, place = _COUNTS[min(len(layout.lines), 5)], _place(layout)
    full = pick(
        rng,
        [
            f"{count} of {letters}{what}{extra} {place}, {upon}",
            f"{letters}{what}{extra}, {count}, {upon}, {place}",
            f"{_size(layout)} {letters}{what}{extra} {upon}, {place}",
        ],
    )
    return [f"{_article(damaged)}{full}", f"{what} {upon}"]


def _article(phrase: str) -> str:
    return f"a {phrase}" if phrase else ""


def _posture(seen: Seen) -> str:
    return {"flat": "", "slanted": "slanted ", "curved": "curved "}[seen.posture]


def _content(layout: Layout) -> str:
    if layout.kind == "digits":
        return "numbers"
    return {"upper": "capital letters"}.get(layout.case, "letters")


def _letters(face: Face) -> str:
    weight = {"Light": "thin ", "Regular": "", "Medium": "", "SemiBold": "bold "}.get(face.weight, "bold ")
    slant = "italic " if face.italic else ""
    return f"{weight}{slant}{face.kind + ' ' if face.kind else ''}"


def _size(layout: Layout) -> str:
    left, _, right, _ = layout.box
    return "large" if layout.letter_px >= 20 and right - left > 60 else "small"


def _place(layout: Layout) -> str:
    row, column = layout.where
    if row == "middle" and column == "centre":
        return "in the centre"
    if row == "middle":
        return f"on the {column}"
    if column == "centre":
        return f"at the {row}"
    return f"at the {row} {column}"
