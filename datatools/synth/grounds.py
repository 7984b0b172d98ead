"""What text is written upon: plain colours, gradients, soft textures, busy patterns, photographs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from PIL import Image, ImageDraw

from datatools.synth.chance import grain, pick
from datatools.synth.colours import COLOURS, shade
from datatools.synth.photographs import draw_photograph

__all__ = ["GROUNDS", "Ground", "draw_ground"]

Pixels = npt.NDArray[np.uint8]


_RELATIVES = (
    ("navy blue", "blue"),
    ("navy blue", "purple"),
    ("navy blue", "black"),
    ("navy blue", "teal"),
    ("black", "charcoal"),
    ("charcoal", "navy blue"),
    ("dark green", "teal"),
    ("dark green", "black"),
    ("teal", "blue"),
    ("green", "teal"),
    ("dark green", "olive green"),
    ("brown", "dark red"),
    ("brown", "black"),
    ("dark red", "magenta"),
    ("dark red", "purple"),
    ("magenta", "purple"),
    ("blue", "purple"),
    ("white", "sky blue"),
    ("white", "lavender"),
    ("white", "light grey"),
    ("cream", "peach"),
    ("cream", "pale yellow"),
    ("cream", "tan"),
    ("sky blue", "turquoise"),
    ("sky blue", "lavender"),
    ("sky blue", "mint green"),
    ("turquoise", "mint green"),
    ("mint green", "pale yellow"),
    ("lavender", "pink"),
    ("pink", "peach"),
    ("pink", "coral"),
    ("coral", "orange"),
    ("orange", "yellow"),
    ("yellow", "pale yellow"),
    ("peach", "coral"),
    ("tan", "peach"),
)
"""Colours that look well beside each other and take the same ink."""


@dataclass(frozen=True, slots=True)
class Ground:
    """A background.

    Attributes:
        pixels: (size, size, 3) uint8.
        kind: which of `GROUNDS` it is.
        phrase: what a caption calls it, with its article, e.g. "a navy blue background".
    """

    pixels: Pixels
    kind: str
    phrase: str


def draw_ground(rng: Generator, kind: str, size_px: int) -> Ground:
    """A background of some kind, `size_px` on both sides."""
    pixels, phrase = GROUNDS[kind](rng, size_px)
    return Ground(pixels, kind, phrase)


def _plain(rng: Generator, size_px: int) -> tuple[Pixels, str]:
    name = pick(rng, list(COLOURS))
    return _flat(shade(rng, name), size_px), f"{_article(name)} background"


def _gradient(rng: Generator, size_px: int) -> tuple[Pixels, str]:
    """One colour fades into another along one of eight directions."""
    name, other = _relatives(rng)
    dx, dy = pick(rng, [(1, 0), (0, 1), (1, 1), (1, -1), (2, 1), (1, 2), (2, -1), (1, -2)])
    x, y = np.meshgrid(np.arange(size_px), np.arange(size_px))
    way = dx * x + dy * y
    way = way - way.min()
    return _mix(shade(rng, name), shade(rng, other), way * 256 // int(way.max())), _fade(name, other)


def _glow(rng: Generator, size_px: int) -> tuple[Pixels, str]:
    """One colour in the middle, another towards the corners."""
    name, other = _relatives(rng)
    centre = int(rng.integers(size_px // 3, size_px - size_px // 3 + 1)), size_px // 2
    x, y = np.meshgrid(np.arange(size_px), np.arange(size_px))
    squares = (x - centre[0]) ** 2 + (y - centre[1]) ** 2
    way = squares * 256 // int(squares.max())
    return _mix(shade(rng, name), shade(rng, other), way), f"{_article(name)} glow that turns {other}"


def _cloudy(rng: Generator, size_px: int) -> tuple[Pixels, str]:
    """Soft blobs of two related colours: coarse noise, enlarged smoothly."""
    name, other = _relatives(rng)
    coarse = rng.integers(0, 256, (4, 4), np.uint8)
    smooth = Image.fromarray(coarse).resize((size_px, size_px), Image.Resampling.BICUBIC)
    way = np.asarray(smooth).astype(np.int64)
    pixels = _mix(shade(rng, name), shade(rng, other), way)
    return pixels, f"a soft cloudy {_pair(name, other)} background"


def _paper(rng: Generator, size_px: int) -> tuple[Pixels, str]:
    """Fine grain over one colour."""
    name = pick(
        rng, ["white", "cream", "tan", "light grey", "pale yellow", "peach", "mint green", "lavender"]
    )
    flat = _flat(shade(rng, name), size_px).astype(np.int16)
    grainy = flat + grain(rng, (size_px, size_px, 1), 4)
    return np.clip(grainy, 0, 255).astype(np.uint8), f"{_article(name)} sheet of paper"


def _stripes(rng: Generator, size_px: int) -> tuple[Pixels, str]:
    """Broad stripes of one colour in two shades."""
    name = pick(rng, list(COLOURS))
    colour = shade(rng, name)
    width = max(3, int(rng.integers(size_px // 12, size_px // 5 + 1)))
    x, y = np.meshgrid(np.arange(size_px), np.arange(size_px))
    across, word = pick(rng, [(x, "vertical"), (y, "horizontal"), (x + y, "diagonal")])
    way = (across // width % 2) * 256
    return _mix(colour, _nudged(colour, 14), way), f"{_article(name)} background with {word} stripes"


def _dots(rng: Generator, size_px: int) -> tuple[Pixels, str]:
    """Polka dots in a second shade of the ground's colour."""
    name = pick(rng, list(COLOURS))
    colour = shade(rng, name)
    step = max(8, int(rng.integers(size_px // 10, size_px // 6 + 1)))
    x, y = np.meshgrid(np.arange(size_px), np.arange(size_px))
    shifted = x + (y // step % 2) * (step // 2)
    squares = (2 * (shifted % step) - step) ** 2 + (2 * (y % step) - step) ** 2
    # the edge of a dot fades over about one pixel: squared distances rise by 4 * radius a pixel
    radius = step // 2
    way = np.clip((radius * radius - squares) * 64 // max(1, radius), 0, 256)
    return _mix(colour, _nudged(colour, 16), way), f"{_article(name)} background with polka dots"


def _checks(rng: Generator, size_px: int) -> tuple[Pixels, str]:
    """A chessboard of two shades."""
    name = pick(rng, list(COLOURS))
    colour = shade(rng, name)
    side = max(4, int(rng.integers(size_px // 12, size_px // 6 + 1)))
    x, y = np.meshgrid(np.arange(size_px), np.arange(size_px))
    way = ((x // side + y // side) % 2) * 256
    return _mix(colour, _nudged(colour, 24), way), f"{_article(name)} chequered background"


def _marble(rng: Generator, size_px: int) -> tuple[Pixels, str]:
    """Veins: where smooth noise crosses certain heights."""
    name, other = _relatives(rng)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6), np.uint8))
    smooth = np.asarray(coarse.resize((size_px, size_px), Image.Resampling.BICUBIC)).astype(np.int64)
    ridge = np.abs(smooth % 64 - 32) * 8
    return _mix(shade(rng, name), shade(rng, other), ridge), f"{_pair(name, other)} marble"


def _confetti(rng: Generator, size_px: int) -> tuple[Pixels, str]:
    """Shapes of a few related colours, strewn about."""
    name, other = _relatives(rng)
    image = Image.fromarray(_flat(shade(rng, name), size_px))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(12, 30))):
        x, y = (int(v) for v in rng.integers(0, size_px, 2))
        radius = int(rng.integers(2, max(3, size_px // 8)))
        colour = shade(rng, pick(rng, (name, other)), 24)
        draw.regular_polygon((x, y, radius), pick(rng, (3, 4, 5, 16)), fill=colour)
    return np.asarray(image), f"{_article(name)} background strewn with {other} shapes"


GROUNDS: dict[str, Callable[[Generator, int], tuple[Pixels, str]]] = {
    "plain": _plain,
    "gradient": _gradient,
    "glow": _glow,
    "cloudy": _cloudy,
    "paper": _paper,
    "stripes": _stripes,
    "dots": _dots,
    "checks": _checks,
    "marble": _marble,
    "confetti": _confetti,
    "photograph": draw_photograph,
}
"""Every kind of background by name."""


def _flat(colour: tuple[int, int, int], size_px: int) -> Pixels:
    return np.full((size_px, size_px, 3), colour, np.uint8)


def _mix(colour: tuple[int, int, int], other: tuple[int, int, int], way: npt.NDArray[np.int64]) -> Pixels:
    """From `colour` where `way` is 0 to `other` where it is 256."""
    a, b = np.array(colour, np.int64), np.array(other, np.int64)
    return np.asarray((a * 256 + (b - a) * way[..., None]) // 256).astype(np.uint8)


def _relatives(rng: Generator) -> tuple[str, str]:
    """Two colours that go together and are about as light, so that one ink is readable on both."""
    pair = pick(rng, _RELATIVES)
    return pair if rng.integers(2) else (pair[1], pair[0])


def _nudged(colour: tuple[int, int, int], by: int) -> tuple[int, int, int]:
    """A lighter shade of a dark colour, a darker one of a light colour."""
    step = -by if sum(colour) > 384 else by
    red, green, blue = (min(255, max(0, channel + step)) for channel in colour)
    return red, green, blue


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _fade(name: str, other: str) -> str:
    return f"a background that fades from {name} to {other}"


def _pair(name: str, other: str) -> str:
    return f"{name} and {other}"
