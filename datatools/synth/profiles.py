"""Kinds of synthetic pictures, each a set of ranges and weights that a picture is drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # profiles are looked up by commands that draw nothing, and words are drawn with numpy
    from datatools.synth.words import Band

__all__ = ["PROFILES", "InkStyle", "Profile", "TextKind"]

TextKind = Literal["words", "letters", "random", "digits", "none"]
InkStyle = Literal["flat", "shadow", "outline", "panel"]

_STURDY = ("Regular", "Medium", "SemiBold", "Bold", "ExtraBold", "Black")
_SOFT = {"plain": 3, "gradient": 3, "glow": 2, "cloudy": 2, "paper": 1, "stripes": 1, "dots": 1}
_BUSY = {"photograph": 12, "marble": 2, "confetti": 2, "checks": 1}


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
    fill: tuple[float, float] = (0.62, 1.0)
    """Size of the text as a share of the largest that fits."""
    weights: tuple[str, ...] = _STURDY
    families: tuple[str, ...] | None = None
    """The only families of fonts; None: all."""
    places: Literal["anywhere", "centre"] = "anywhere"
    cases: Mapping[Literal["lower", "capital", "upper"], float] = field(
        default_factory=lambda: {"lower": 0.4, "capital": 0.4, "upper": 0.2}
    )
    grounds: Mapping[str, float] = field(default_factory=lambda: dict(_SOFT))
    inks: Mapping[InkStyle, float] = field(default_factory=lambda: {"flat": 6, "shadow": 2, "panel": 2})
    damages: Mapping[str, float] = field(default_factory=lambda: {"none": 1.0})
    warped_percent: int = 0
    """How many pictures in a hundred have text that does not lie flat."""
    max_turn: float = 0.0
    """Radians, about."""
    max_bend: float = 0.0
    """How far the ends of a line sink, as a share of half its length."""
    max_tilt: float = 0.0
    """How much nearer the edge of the picture is than its middle, as a share, along each axis."""


_MINI = Profile(
    description="three or four capital letters in one bold face, large and central, on plain grounds: "
    "what the smallest models can learn to spell",
    n_lines=(1, 1),
    words_per_line=(1, 1),
    letters=(3, 4),
    bands=("common", "frequent"),
    kinds={"words": 0.45, "letters": 0.45, "none": 0.1},
    fill=(0.85, 1.0),
    weights=("Bold",),
    families=("Roboto",),
    places="centre",
    cases={"upper": 1.0},
    grounds={"plain": 1},
    inks={"flat": 1},
)


PROFILES: dict[str, Profile] = {
    "plain": Profile(
        description="one or two lines of dictionary words, upright, on plain or softly textured grounds",
    ),
    "word": Profile(
        description="one common word of three to eight letters, large: for training small models",
        n_lines=(1, 1),
        words_per_line=(1, 1),
        letters=(3, 8),
        bands=("common",),
        min_letter_px=7,
        fill=(0.8, 1.0),
        weights=("Medium", "SemiBold", "Bold", "ExtraBold", "Black"),
        cases={"lower": 0.5, "upper": 0.5},
        grounds={"plain": 2, "gradient": 1},
        inks={"flat": 1},
    ),
    "mini": _MINI,
    "mini-long": replace(
        _MINI, description="the same with three to six letters: what comes next", letters=(3, 6)
    ),
    "mini-words": replace(
        _MINI,
        description="the same with three to eight letters: every length of the suites",
        letters=(3, 8),
        min_letter_px=7,
    ),
    "mini-lines": replace(
        _MINI,
        description="the same in one to three lines, each a word of three to eight letters: what comes last",
        n_lines=(1, 3),
        letters=(3, 8),
        min_letter_px=7,
    ),
    "scene": Profile(
        description="up to four lines on photographs and patterns, turned, bent, tilted, blurred, "
        "compressed; words of every frequency, random strings, numbers, and pictures without text",
        n_lines=(1, 4),
        words_per_line=(1, 3),
        letters=(2, 9),
        bands=("common", "frequent", "rare"),
        kinds={"words": 0.76, "random": 0.08, "digits": 0.08, "none": 0.08},
        min_letter_px=8,
        fill=(0.45, 1.0),
        weights=("Light", *_STURDY),
        grounds={**_SOFT, **_BUSY},
        inks={"flat": 4, "shadow": 2, "outline": 2, "panel": 2},
        damages={"none": 4, "blur": 1, "noise": 1, "jpeg": 2, "shrunk": 1},
        warped_percent=50,
        max_turn=0.35,
        max_bend=0.25,
        max_tilt=0.22,
    ),
    "random": Profile(
        description="strings over an alphabet whose letters are never taken for one another",
        kinds={"random": 1.0},
        letters=(3, 7),
    ),
    "digits": Profile(description="numbers of two to six digits", kinds={"digits": 1.0}, letters=(2, 6)),
    "blank": Profile(
        description="pictures without text, plain and busy", kinds={"none": 1.0}, grounds={**_SOFT, **_BUSY}
    ),
}
"""Every profile by name."""
