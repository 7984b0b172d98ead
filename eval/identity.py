"""Stable short names of things: a setting, a reader, a protocol."""

from __future__ import annotations

import hashlib
import json
from typing import Any

__all__ = ["canonical_json", "identity"]


def canonical_json(thing: Any) -> str:
    """JSON with sorted keys and no blanks: equal things give equal text."""
    return json.dumps(thing, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def identity(thing: Any, n_digits: int = 12) -> str:
    """The beginning of the sha256 of a thing's canonical JSON, in hexadecimal digits."""
    return hashlib.sha256(canonical_json(thing).encode()).hexdigest()[:n_digits]
