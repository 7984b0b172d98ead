"""Which words, in which face, how large and where: everything about the text before a pixel is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from numpy.random import Generator

from datatools.synth.chance import between, pick, pick_weighted
from datatools.synth.fonts import Face, letter_height_px, load_font
from datatools.synth.profiles import Profile, TextKind
from datatools.synth.words import draw_digits, draw_letters, draw_random, words

__all__ = ["Layout", "PlacedLine", "lay_out"]

_REFERENCE_PX = 64  # size at which text is measured before its own size is known
_LINE_STEP = 1.25  # baseline to baseline, in font sizes
_TRIES = 40

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class PlacedLine:
    """A line of text, the left end of its baseline, and the box of its ink (left, top, right, bottom).

    edges: where its characters begin along the line, and where the last one ends, in pixels.
    """

    text: str
    origin: tuple[int, int]
    box: Box
    edges: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The text of a picture, placed.

    Attributes:
        kind: words, random strings, digits, or none at all (`lines` is empty).
        where: the rough position, e.g. ("top", "left"); ("middle", "centre") for the centre.
        letter_px: how tall a capital letter stands.
    """

    kind: TextKind
    lines: tuple[PlacedLine, ...]
    face: Face
    font_px: int
    letter_px: int
    case: str
    where: tuple[str, str]

    @property
    def box(self) -> Box:
        """The box around all ink."""
        sides = list(zip(*(line.box for line in self.lines), strict=True))
        return min(sides[0]), min(sides[1]), max(sides[2]), max(sides[3])


def lay_out(rng: Generator, profile: Profile, face: Face, held_out_words: bool, size_px: int) -> Layout:
    """Draw a text and a place for it in a square picture.

    A text that cannot stand there with letters of the profile's least height is drawn anew, shorter each
    time; the last resort is one short word.
    """
    kind = pick_weighted(rng, profile.kinds)
    case: str = pick_weighted(rng, profile.cases) if kind in ("words", "letters") else "as it is"
    if kind == "none":
        return Layout(kind, (), face, 0, 0, case, ("middle", "centre"))
    margin = _margin_px(size_px)
    least_px = _font_size_for(face, profile.min_letter_px)
    for attempt in range(_TRIES):
        texts = _draw_texts(rng, profile, kind, case, held_out_words, shorten=attempt)
        most_px = _largest_size(texts, face, size_px - 2 * margin)
        if most_px >= least_px:
            break
    font_px = max(least_px, min(int(between(rng, *profile.fill) * most_px), size_px // 2))
    return _place(rng, texts, kind, face, font_px, case, size_px, profile.places)


def _margin_px(size_px: int) -> int:
    return max(3, size_px * 6 // 100)


def _draw_texts(
    rng: Generator, profile: Profile, kind: TextKind, case: str, held_out: bool, shorten: int
) -> list[str]:
    """The lines of a text; each attempt that did not fit allows fewer lines, words and letters."""
    n_lines = int(rng.integers(profile.n_lines[0], profile.n_lines[1] + 1))
    n_lines = max(1, n_lines - shorten // 8)
    longest = max(profile.letters[0], profile.letters[1] - shorten // 4)
    letters = (profile.letters[0], longest)
    most_words = max(1, profile.words_per_line[1] - shorten // 6)
    fewest_words = min(profile.words_per_line[0], most_words)
    lines = []
    for _ in range(n_lines):
        n_words = int(rng.integers(fewest_words, most_words + 1))
        lines.append(" ".join(_draw_word(rng, profile, kind, letters, held_out) for _ in range(n_words)))
    return [_in_case(line, case, first=i == 0) for i, line in enumerate(lines)]


def _draw_word(
    rng: Generator, profile: Profile, kind: TextKind, letters: tuple[int, int], held_out: bool
) -> str:
    if kind == "random":
        return draw_random(rng, letters)
    if kind == "letters":
        return draw_letters(rng, letters, held_out)
    if kind == "digits":
        return draw_digits(rng, (min(2, letters[0]), min(6, letters[1])))
    return pick(rng, words(profile.bands, letters, held_out))


def _in_case(line: str, case: str, first: bool) -> str:
    if case == "upper":
        return line.upper()
    if case == "capital" and first:
        return line[:1].upper() + line[1:]
    return line


def _font_size_for(face: Face, letter_px: int) -> int:
    """The smallest size at which capital letters are that tall."""
    size = letter_px
    while letter_height_px(face.path, size) < letter_px:
        size += 1
    return size


def _largest_size(texts: Sequence[str], face: Face, room_px: int) -> int:
    """The size at which the longest line fills the width, or all lines the height."""
    font = load_font(face.path, _REFERENCE_PX)
    widest = max(texts, key=font.getlength)
    by_width = room_px * _REFERENCE_PX / max(1.0, font.getlength(widest))
    size = int(min(by_width, room_px / (_LINE_STEP * len(texts))))
    # hinting and slanted letters make ink a little wider than its length at another size says
    while size > 1 and _ink_width(widest, face, size) > room_px:
        size -= 1
    return size


def _ink_width(text: str, face: Face, font_px: int) -> int:
    left, _, right, _ = load_font(face.path, font_px).getbbox(text, anchor="ls")
    return int(right - left)


def _place(
    rng: Generator,
    texts: Sequence[str],
    kind: TextKind,
    face: Face,
    font_px: int,
    case: str,
    size_px: int,
    places: Literal["anywhere", "centre"],
) -> Layout:
    margin = _margin_px(size_px)
    font = load_font(face.path, font_px)
    boxes = [font.getbbox(text, anchor="ls") for text in texts]
    step = round(_LINE_STEP * font_px)
    width = max(box[2] - box[0] for box in boxes)
    top, bottom = boxes[0][1], boxes[-1][3] + step * (len(texts) - 1)
    # what is left between the block of text and the margins, shared out by the position
    spare_x = max(0, size_px - 2 * margin - width)
    spare_y = max(0, size_px - 2 * margin - (bottom - top))
    down, row = _position(rng, ("top", "middle", "bottom"), places)
    across, column = _position(rng, ("left", "centre", "right"), places)
    align = pick(rng, ("left", "centre", "right")) if len(texts) > 1 else "left"
    x0, y0 = margin + int(spare_x * across), margin + int(spare_y * down) - top
    lines = []
    for number, (text, box) in enumerate(zip(texts, boxes, strict=True)):
        indent = _indent(align, int(width - (box[2] - box[0])))
        x, y = x0 + indent - box[0], y0 + number * step
        ink = (x + box[0], y + box[1], x + box[2], y + box[3])
        edges = tuple(float(x + font.getlength(text[:i])) for i in range(len(text) + 1))
        lines.append(PlacedLine(text, (int(x), int(y)), _whole(ink), edges))
    letter_px = letter_height_px(face.path, font_px)
    return Layout(kind, tuple(lines), face, font_px, letter_px, case, (row, column))


def _position(
    rng: Generator, names: tuple[str, str, str], places: Literal["anywhere", "centre"]
) -> tuple[float, str]:
    """A place along one axis, 0 to 1, and its name; the middle is as likely as both ends together."""
    name = names[1] if places == "centre" else pick(rng, (names[0], names[1], names[1], names[2]))
    start = {names[0]: 0.0, names[1]: 0.4, names[2]: 0.8}[name]
    return between(rng, start, start + 0.2), name


def _whole(box: tuple[float, float, float, float]) -> Box:
    left, top, right, bottom = map(int, box)
    return left, top, right, bottom


def _indent(align: Literal["left", "centre", "right"] | str, spare: int) -> int:
    return {"left": 0, "centre": spare // 2, "right": spare}[align]
