"""The faces that text is set in. They come with the install: every machine draws the same pictures."""

from __future__ import annotations

import importlib.util
import re
import zlib
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from PIL import ImageFont

from datatools.errors import InputError

__all__ = ["Face", "faces", "letter_height_px", "load_font"]

# Package, family, kind. Licences: Caladea and Roboto Apache-2.0, the others SIL Open Font License 1.1.
_PACKAGES = (
    ("font_caladea", "Caladea", "serif"),
    ("font_fredoka_one", "Fredoka One", "rounded"),
    ("font_hanken_grotesk", "Hanken Grotesk", "sans-serif"),
    ("font_intuitive", "Intuitive", "handwritten"),
    ("font_manrope", "Manrope", "sans-serif"),
    ("font_roboto", "Roboto", "sans-serif"),
    ("font_source_sans_pro", "Source Sans Pro", "sans-serif"),
    ("font_source_serif_pro", "Source Serif Pro", "serif"),
)

_HELD_OUT = frozenset({"Caladea", "Hanken Grotesk"})  # one serif, one sans-serif

_WEIGHTS = ("Light", "Regular", "Medium", "SemiBold", "Bold", "ExtraBold", "Black")

_SAMPLE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


@dataclass(frozen=True, slots=True)
class Face:
    """One font file: its family, and what a caption says about it."""

    path: str
    name: str
    family: str
    kind: str
    weight: str
    italic: bool
    held_out: bool


def faces(folder: str | None = None) -> tuple[Face, ...]:
    """The faces that come with the install, or those of the font files in a folder, sorted by name.

    Raises:
        InputError: a font package is missing, or the folder has no face with Latin letters and digits.
    """
    return _bundled_faces() if folder is None else _faces_in(folder)


@lru_cache(maxsize=2048)
def load_font(path: str, size_px: int) -> ImageFont.FreeTypeFont:
    """A face at a size. Basic layout: Raqm is not in every Pillow and would move letters."""
    return ImageFont.truetype(path, size_px, layout_engine=ImageFont.Layout.BASIC)


@cache
def letter_height_px(path: str, size_px: int) -> int:
    """How tall the capital H of a face stands."""
    _, top, _, bottom = load_font(path, size_px).getbbox("H", anchor="ls")
    return int(bottom - top)


@cache
def _bundled_faces() -> tuple[Face, ...]:
    found = []
    for package, family, kind in _PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise InputError(f"the font package {package} is missing", "pip install --upgrade txtdiff")
        for path in sorted((Path(spec.origin).parent / "files").glob("*.[ot]tf")):
            weight, italic = _style(path.stem)
            # Source Sans and Source Serif come twice, as ttf and otf; variable fonts repeat the others.
            twin = path.suffix == ".otf" and path.with_suffix(".ttf").exists()
            if weight in _WEIGHTS and not twin and "Variable" not in path.stem:
                found.append(Face(str(path), path.stem, family, kind, weight, italic, family in _HELD_OUT))
    return tuple(sorted(found, key=lambda face: face.name))


@cache
def _faces_in(folder: str) -> tuple[Face, ...]:
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in (".ttf", ".otf"))
    found = [face for face in map(_face_of, paths) if face is not None]
    if not found:
        raise InputError(
            f"no usable font in {folder}", "Give a folder with .ttf or .otf files that hold Latin letters."
        )
    return tuple(sorted(found, key=lambda face: (face.name, face.path)))


def _face_of(path: Path) -> Face | None:
    """A stranger's font file, or None when it cannot be opened or draws no Latin letters."""
    try:
        font = load_font(str(path), 32)
        family, style = font.getname()
        # A font without a letter draws its "not defined" glyph, the same for all that it lacks.
        shapes = {bytes(font.getmask(letter)) for letter in _SAMPLE}
    except (OSError, ValueError):
        return None
    if len(shapes) < len(_SAMPLE) * 3 // 4:
        return None
    weight, italic = _style(f"x-{(style or 'Regular').replace(' ', '')}")
    family = family or path.stem
    held_out = zlib.crc32(family.encode()) % 5 == 0
    return Face(str(path), f"{family} {style}", family, "", weight, italic, held_out)


def _style(stem: str) -> tuple[str, bool]:
    """Weight and slant from a file name like SourceSansPro-SemiboldIt."""
    style = stem.partition("-")[2]
    slanted = re.search(r"(Italic|Oblique|It)$", style)
    weight = (style[: slanted.start()] if slanted else style) or "Regular"
    return {"Semibold": "SemiBold", "Extrabold": "ExtraBold"}.get(weight, weight), slanted is not None
