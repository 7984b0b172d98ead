"""Where results go: folders made and looked at before the work, and told in the user's words."""

from __future__ import annotations

import os
from pathlib import Path

from datatools.errors import InputError

__all__ = ["make_folder_of"]


def make_folder_of(path: Path) -> None:
    """Make the folder that the file `path` is to be in.

    Raises:
        InputError: something on the way is no folder, or may not be written; names it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path} cannot be written: {error.filename}: {reason}", _REMEDY) from error
    if path.is_dir():
        raise InputError(f"{path} is a folder", "Name a file.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"{path} cannot be written: the folder {path.parent} is read-only", _REMEDY)


_REMEDY = "Give a file in a folder that you may write to."
