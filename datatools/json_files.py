"""JSON files of strangers, read whole: never more than a bound, and every fault one message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from datatools.errors import InputError

__all__ = ["read_json"]


def read_json(path: Path, what: str, limit_bytes: int, remedy: str | None = None) -> Any:
    """What a JSON file holds.

    Args:
        what: it should be, in words: "a map of classes".
        limit_bytes: a larger one is not opened.
        remedy: what to do about one that cannot be read.

    Raises:
        InputError: missing, unreadable, too large, no UTF-8, no JSON, or nested too deeply.
    """
    try:
        if path.stat().st_size > limit_bytes:
            raise InputError(f"{path} is too large for {what}")
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as {what}: {error}", remedy) from error
