"""Text and JSON files of strangers, read whole: never more than a bound, and every fault one message."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

from datatools.errors import InputError

__all__ = ["open_regular", "read_json", "read_text"]


def open_regular(path: str | Path) -> BinaryIO:
    """A file open for reading, but never a named pipe or the like: opening one waits for who writes into it.

    Raises:
        OSError: also for what is no regular file.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return os.fdopen(handle, "rb")
    os.close(handle)
    raise OSError(errno.EINVAL, "Not a regular file", str(path))


def read_text(path: Path, what: str, limit_bytes: int, remedy: str | None = None) -> str:
    """What a text file in UTF-8 holds, with or without a mark of byte order; lines end with "\\n".

    Args:
        what: it should be, in words: "a settings file".
        limit_bytes: of a larger one no more than that is read.
        remedy: what to do about one that cannot be read.

    Raises:
        InputError: missing, unreadable, no regular file, too large, or no UTF-8.
    """
    try:
        with open_regular(path) as file:
            data = file.read(limit_bytes + 1)  # what a file says of its size need not be so
        if len(data) > limit_bytes:
            raise InputError(f"{path} is too large for {what}: more than {limit_bytes:,} bytes")
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError:
        raise InputError(f"there is no file {path}", remedy) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as {what}: {error}", remedy) from error


def read_json(path: Path, what: str, limit_bytes: int, remedy: str | None = None) -> Any:
    """What a JSON file holds; arguments and errors as `read_text`'s.

    Raises:
        InputError: also for what is no JSON, or nested too deeply.
    """
    text = read_text(path, what, limit_bytes, remedy)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as {what}: {error}", remedy) from error
