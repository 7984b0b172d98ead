"""Kinds of synthetic pictures, each a set of ranges and weights that a picture is drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from datatools.synth.words import Band

__all__ = ["PROFILES", "InkStyle", "Profile", "TextKind"]

TextKind = Literal["words", "random", "digits", "none"]
InkStyle = Literal["flat", "shadow", "outline", "panel"]


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What pictures of a kind may look like. Weights need not add up to one."""

    description: str
    n_lines: tuple[int, int] = (1, 2)
    words_per_line: tuple[int, int] = (1, 2)
    letters: tuple[int, int] = (3, 9)
    bands: tuple[Band, ...] = ("common", "frequent")
    kinds: Mapping[TextKind, float] = field(default_factory=lambda: {"words": 1.0})
    min_letter_px: int = 10
    """Capital letters are at least this tall."""
    weights: tuple[str, ...] = ("Regular", "Medium", "SemiBold", "Bold", "ExtraBold", "Black")
    cases: Mapping[Literal["lower", "capital", "upper"], float] = field(
        default_factory=lambda: {"lower": 0.4, "capital": 0.4, "upper": 0.2}
    )
    grounds: Mapping[str, float] = field(default_factory=lambda: {"plain": 1.0})
    inks: Mapping[InkStyle, float] = field(default_factory=lambda: {"flat": 1.0})


PROFILES: dict[str, Profile] = {
    "plain": Profile(
        description="one or two lines of dictionary words, upright, on plain or softly textured grounds",
        grounds={
            "plain": 3,
            "gradient": 3,
            "glow": 2,
            "cloudy": 2,
            "paper": 1,
            "stripes": 1,
            "dots": 1,
        },
        inks={"flat": 6, "shadow": 2, "panel": 2},
    ),
}
"""Every profile by name."""
