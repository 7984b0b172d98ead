"""Other people's files that stand where ours are to be written: a copy is kept beside them."""

from __future__ import annotations

import filecmp
import shutil
from itertools import count
from pathlib import Path

__all__ = ["keep_copy"]


def keep_copy(path: Path) -> Path:
    """Copy a.txt to a.txt.orig, a.txt.orig2, …: a copy is never written over either.

    Returns:
        The copy; one with the same bytes that is there already is not made twice.

    Raises:
        OSError: the copy cannot be made; `path` is as it was.
    """
    names = (path.with_name(f"{path.name}.orig{'' if n == 1 else n}") for n in count(1))
    copy = next(name for name in names if not name.exists() or _same(path, name))
    if not copy.exists():
        shutil.copy2(path, copy)
    return copy


def _same(path: Path, other: Path) -> bool:
    return other.is_file() and filecmp.cmp(path, other, shallow=False)
