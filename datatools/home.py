"""The user's home and cache, which a service account or a container may lack."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder", "expand_home"]


def expand_home(path: Path | str) -> Path:
    """`path` with `~` replaced; without a home as it is, so that it is told as a file that does not exist."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no HOME, and the user is in no password database
        return Path(path)


def cache_folder() -> Path | None:
    """`$XDG_CACHE_HOME/txtdiff`, by default `~/.cache/txtdiff`; None where there is no home.

    A relative `$XDG_CACHE_HOME` counts as unset (XDG Base Directory Specification 0.8).
    """
    named = os.environ.get("XDG_CACHE_HOME", "")
    base = expand_home(named if Path(named).is_absolute() else "~/.cache")
    return base / "txtdiff" if base.is_absolute() else None
