"""Sentences that say what is seen: colours, style, position, background. Never the text itself."""

from __future__ import annotations

from numpy.random import Generator

from datatools.synth.chance import pick
from datatools.synth.fonts import Face
from datatools.synth.grounds import Ground
from datatools.synth.layout import Layout
from datatools.synth.profiles import InkStyle

__all__ = ["describe"]

_COUNTS = ("no", "one line", "two lines", "three lines", "four lines")


def describe(
    rng: Generator, layout: Layout, ground: Ground, ink: str, style: InkStyle, panel: str
) -> list[str]:
    """Two captions, a full one and a short one."""
    if not layout.lines:
        return [f"{ground.phrase} without any text", "a picture without text"]
    what = f"{ink} {_content(layout)}"
    letters = _letters(layout.face)
    upon = f"on a {panel} panel over {ground.phrase}" if style == "panel" else f"on {ground.phrase}"
    extra = {"shadow": " with a soft shadow", "outline": " with an outline"}.get(style, "")
    full = pick(
        rng,
        [
            f"{_count(layout)} of {letters}{ink} {_content(layout)}{extra} {_place(layout)}, {upon}",
            f"{letters}{what}{extra}, {_count(layout)}, {upon}, {_place(layout)}",
            f"{_size(layout)} {letters}{what}{extra} {upon}, {_place(layout)}",
        ],
    )
    return [full, f"{what} {upon}"]


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


def _count(layout: Layout) -> str:
    return _COUNTS[len(layout.lines)] if len(layout.lines) < len(_COUNTS) else "many lines"


def _place(layout: Layout) -> str:
    row, column = layout.where
    if row == "middle" and column == "centre":
        return "in the centre"
    if row == "middle":
        return f"on the {column}"
    if column == "centre":
        return f"at the {row}"
    return f"at the {row} {column}"
