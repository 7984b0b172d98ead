"""Files beside pictures: boxes, scales, captions and texts, the fork's formats and ours, in and out."""

from __future__ import annotations

from datatools.sidecars.forms import (
    Field,
    Matched,
    Sidecar,
    match_keys,
    read_sidecar,
    write_sidecar,
    write_sidecars,
)

__all__ = [
    "Field",
    "Matched",
    "Sidecar",
    "match_keys",
    "read_sidecar",
    "write_sidecar",
    "write_sidecars",
]
