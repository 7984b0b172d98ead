"""Typeset text as a generator: what a perfect model would draw, so that the reader itself can be measured."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from numpy.random import Generator as Random
from PIL import Image, ImageDraw, ImageFont

from datatools.ocr import Polygon
from datatools.synth.chance import between, generator_for, pick
from datatools.synth.colours import COLOURS, contrast_ratio, luminance
from datatools.synth.fonts import Face, faces, load_font
from eval.generators import Made
from eval.suites import Cell, Suite
from eval.sweep import Setting, make_setting
from eval.text_metrics.normalisers import flat

__all__ = [
    "N_RENDERS",
    "ROLES",
    "Role",
    "Typesetter",
    "typeset",
    "typeset_cells",
    "typeset_setting",
    "with_one_error",
]

Role = Literal["ceiling", "trap"]
ROLES: tuple[Role, ...] = get_args(Role)

N_RENDERS = 8
"""Pictures per text, each in another family of type."""

_MARGIN = 0.06  # of the edge, on each side
_MIN_CONTRAST = 4.5  # WCAG AA: what is called readable text
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Typesetter:
    """Sets each text (`ceiling`), or the text with one error in it (`trap`), on a flat ground."""

    batch_size = 32

    def make(self, setting: Setting, cells: Sequence[Cell]) -> list[Made]:
        """Pictures of the setting's size."""
        return typeset(cells, setting.spec["size_px"], setting.spec["role"])


def typeset(cells: Sequence[Cell], size_px: int, role: Role) -> list[Made]:
    """The pictures of these cells, (size_px, size_px, 3); a cell's is the same in any company."""
    drawn = [_draw(cell, size_px, role) for cell in cells]
    return [
        Made(cell, picture, regions=regions) for cell, (picture, regions) in zip(cells, drawn, strict=True)
    ]


def typeset_setting(suite: Suite, size_px: int, role: Role) -> Setting:
    """The setting of a calibration: its pictures are scored like any other's."""
    spec = {"generator": "typeset", "suite": suite.id, "role": role, "size_px": size_px, "version": 1}
    return make_setting(spec, f"{role} {size_px} px")


def typeset_cells(suite: Suite) -> list[Cell]:
    """Eight pictures of every prompt that asks for text."""
    return [Cell(prompt, k) for prompt in suite.prompts if prompt.txt.strip() for k in range(N_RENDERS)]


def with_one_error(text: str, rng: Random) -> str:
    """`text` with one letter replaced, left out or put in: another text for every normaliser."""
    places = [i for i, character in enumerate(text) if character.isalnum()] or [0]
    while True:
        i = pick(rng, places)
        letter = pick(rng, _LETTERS)
        replaced, dropped, added = (letter, i + 1), ("", i + 1), (letter, i)
        middle, end = pick(rng, [replaced, dropped, added])
        changed = text[:i] + middle + text[end:]
        if changed.strip() and flat(changed, "confusable") != flat(text, "confusable"):
            return changed


def _draw(cell: Cell, size_px: int, role: Role) -> tuple[npt.NDArray[np.uint8], tuple[Polygon, ...]]:
    rng = generator_for(_entropy(cell.prompt.id, cell.prompt.txt, role), cell.seed)
    text = cell.prompt.txt if role == "ceiling" else with_one_error(cell.prompt.txt, rng)
    face = _face(cell, rng)
    ink, ground = _colours(rng)
    image = Image.new("RGB", (size_px, size_px), ground)
    canvas = ImageDraw.Draw(image)
    text = "\n".join(line for line in text.splitlines() if line.strip())
    font = load_font(face.path, _font_px(canvas, text, face, size_px, between(rng, 0.75, 1.0)))
    left, top, right, bottom = canvas.multiline_textbbox((0, 0), text, font=font)
    x, y = (
        between(rng, 0, max(0.0, size_px - (end - start))) for start, end in ((left, right), (top, bottom))
    )
    canvas.multiline_text((x - left, y - top), text, fill=ink, font=font)
    return np.asarray(image), _line_boxes(canvas, text, font, (x - left, y - top))


def _line_boxes(
    canvas: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont, at: tuple[float, float]
) -> tuple[Polygon, ...]:
    """The box around the ink of each line, lines as far apart as Pillow sets them (4 px more than an A)."""
    step_px = canvas.textbbox((0, 0), "A", font)[3] + 4
    boxes = []
    for i, line in enumerate(text.split("\n")):
        left, top, right, bottom = canvas.textbbox((at[0], at[1] + i * step_px), line, font)
        boxes.append(((left, top), (right, top), (right, bottom), (left, bottom)))
    return tuple(boxes)


def _font_px(canvas: ImageDraw.ImageDraw, text: str, face: Face, size_px: int, share: float) -> int:
    """The largest type that fits into the picture, times `share`."""
    room = size_px * (1 - 2 * _MARGIN)
    left, top, right, bottom = canvas.multiline_textbbox((0, 0), text, font=load_font(face.path, 100))
    fitting = 100 * room / max(right - left, bottom - top, 1)
    return max(4, int(fitting * share))


def _face(cell: Cell, rng: Random) -> Face:
    """Another family for each picture of a prompt, in an order of the prompt's own."""
    families = sorted({face.family for face in faces()})
    order = generator_for(_entropy(cell.prompt.id, "families"), 0).permutation(len(families))
    family = families[int(order[cell.seed % len(families)])]
    return pick(rng, [face for face in faces() if face.family == family and not face.italic])


def _colours(rng: Random) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Ink and ground with the contrast of readable text."""
    while True:
        ink, ground = pick(rng, list(COLOURS.values())), pick(rng, list(COLOURS.values()))
        lights = [int(luminance(np.array(colour, np.uint8))) for colour in (ink, ground)]
        if contrast_ratio(*lights) >= _MIN_CONTRAST:
            return ink, ground


def _entropy(*parts: str) -> int:
    return int.from_bytes(hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest())
