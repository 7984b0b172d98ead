"""Text and JSON files of strangers, read whole: never more than a bound, and every fault one message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from datatools.errors import InputError

__all__ = ["read_json", "read_text"]


def read_text(path: Path, what: str, limit_bytes: int, remedy: str | None = None) -> str:
    """What a text file in UTF-8 holds, with or without a mark of byte order; lines end with "\\n".

    Args:
        what: it should be, in words: "a settings file".
        limit_bytes: a larger one is not opened.
        remedy: what to do about one that cannot be read.

    Raises:
        InputError: missing, unreadable, too large, or no UTF-8.
    """
    try:
        if path.stat().st_size > limit_bytes:
            raise InputError(f"{path} is too large for {what}: more than {limit_bytes:,} bytes")
        return path.read_text("utf-8-sig")
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
