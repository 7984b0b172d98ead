"""The folder that pictures are sampled into: which files in it are ours to replace or to remove."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from datatools.console import plain
from datatools.errors import InputError

__all__ = ["GRID", "METADATA_KEY", "check_folder", "picture_name", "remove_surplus"]

GRID = "grid.png"
METADATA_KEY = "txtdiff"
"""Text chunk of every PNG we write; a PNG without it is somebody else's."""

_NUMBERED = re.compile(r"([0-9]{5,})\.png")


def picture_name(i: int) -> str:
    """File name of picture i, counted from 0."""
    return f"{i:05}.png"


def check_folder(out: Path, n: int) -> None:
    """Stop before n pictures and their grid would replace one that `txtdiff sample` did not make.

    Raises:
        InputError: such a picture, by name.
    """
    names = {GRID, *map(picture_name, range(n))}
    for path in sorted(out.iterdir()):
        if path.name in names and not _is_ours(path):
            raise InputError(
                f"{plain(str(path))} would be overwritten, and `txtdiff sample` did not make it",
                "Choose another --out.",
            )


def remove_surplus(out: Path, n: int) -> None:
    """Remove pictures of a longer earlier run, those numbered n and more; those of others stay."""
    for path in out.iterdir():
        number = _NUMBERED.fullmatch(path.name)
        if number is not None and int(number[1]) >= n and _is_ours(path):
            path.unlink()


def _is_ours(path: Path) -> bool:
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            return METADATA_KEY in picture.info
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False  # what cannot be opened as a PNG was not written by us
