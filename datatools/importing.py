"""Boxes, scales and captions that somebody else made, brought into a catalog."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from datatools.captions import import_captions, read_captions
from datatools.catalog import Catalog
from datatools.sidecars import Field, Matched, match_keys, read_sidecar, write_sidecars

__all__ = ["Imported", "Sources", "import_sidecars"]


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Files of the fork's form or JSON Lines; None or empty: none of that kind."""

    safeboxes: Path | None = None
    px_scales: Path | None = None
    original_sizes: Path | None = None
    """[width, height] of the pictures before they were shrunk: px scale = stored / original."""
    captions: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Imported:
    """What a file brought."""

    path: Path
    what: str
    matched: Matched


def import_sidecars(
    catalog: Catalog, sources: Sources, sidecars: Literal["jsonl", "fork"] = "jsonl"
) -> list[Imported]:
    """Bring files into a catalog. Given boxes and scales stand before any that we found ourselves.

    Args:
        catalog: open for writing.
        sources: the files.
        sidecars: form in which safeboxes.jsonl and px_scales.jsonl beside the catalog are written anew.

    Raises:
        InputError: a file cannot be read; nothing of it was taken.
    """
    done = []
    kinds: list[tuple[Field, Path | None, str, Callable[..., dict[str, Any]]]] = [
        ("safebox", sources.safeboxes, "boxes", _box_row),
        ("px_scale", sources.px_scales, "px_scales", _scale_row),
        ("original_size", sources.original_sizes, "px_scales", _size_row),
    ]
    sizes = {
        row["key"]: row for row in catalog.arrow("SELECT key, width_px, height_px FROM pictures").to_pylist()
    }
    for field, path, table, row_of in kinds:
        if path is not None:
            matched = match_keys(read_sidecar(path, field), sizes)
            rows = [
                row_of(sizes[key], value) for key, value in matched.values.items() if sizes[key]["width_px"]
            ]
            _replace(catalog, table, rows)
            done.append(Imported(path, field, matched))
    captions = import_captions(catalog, {path: read_captions(path) for path in sources.captions})
    done += [Imported(report.path, "captions", report.matched) for report in captions]
    write_sidecars(catalog, sidecars)
    return done


def _replace(catalog: Catalog, table: str, rows: list[dict[str, Any]]) -> None:
    new = catalog.table(table, [row | {"source": "given"} for row in rows])
    with catalog.transaction():
        catalog.delete(table, pa.table({"key": new["key"]}))
        catalog.append(table, new)


def _box_row(picture: Mapping[str, Any], box: list[float]) -> dict[str, Any]:
    return dict(zip(("key", "left", "top", "right", "bottom"), (picture["key"], *box), strict=True))


def _scale_row(picture: Mapping[str, Any], scale: list[float]) -> dict[str, Any]:
    return {"key": picture["key"], "sx": scale[0], "sy": scale[1]}


def _size_row(picture: Mapping[str, Any], original: list[float]) -> dict[str, Any]:
    return _scale_row(picture, [picture["width_px"] / original[0], picture["height_px"] / original[1]])
