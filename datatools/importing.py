"""Boxes, scales and captions that somebody else made, brought into a catalog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from datatools.build import BuildReport, build_catalog
from datatools.catalog import Catalog, open_catalog
from datatools.config import BuildSettings
from datatools.errors import InputError
from datatools.sidecars import Field, Matched, Sidecar, match_keys, read_sidecar, write_sidecars
from datatools.sidecars.captions import import_captions, read_captions

__all__ = ["GivenFile", "Imported", "Sources", "import_data_set", "import_sidecars", "read_sources"]


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Files of the fork's form or JSON Lines; None or empty: none of that kind."""

    safeboxes: Path | None = None
    px_scales: Path | None = None
    original_sizes: Path | None = None
    """[width, height] of the pictures before they were shrunk: px scale = stored / original."""
    captions: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class GivenFile:
    """A file of somebody else's, read and found well formed."""

    path: Path
    field: Field
    sidecar: Sidecar


@dataclass(frozen=True, slots=True)
class Imported:
    """What a file brought."""

    path: str | Path
    what: str
    matched: Matched


def import_data_set(
    source: str | Path,
    catalog_path: str | Path,
    sources: Sources,
    sidecars: Literal["jsonl", "fork"] = "jsonl",
) -> tuple[BuildReport, list[Imported]]:
    """Take over a data set that has its texts, boxes, scales and captions already; no reader is asked.

    Args:
        source: pictures and their .txt files, as `build_catalog` takes them.
        catalog_path: DuckDB file, made if it is not there.
        sources: files about the pictures.
        sidecars: form of the sidecars written beside the catalog.

    Raises:
        InputError: something cannot be used; a bad file of `sources` is told before anything is written.
    """
    given = read_sources(sources)  # first of all: the build writes files of the same names beside the catalog
    report = build_catalog(source, catalog_path, BuildSettings(ocr=(), sidecars=sidecars))
    with open_catalog(catalog_path, "write") as catalog:
        return report, import_sidecars(catalog, given, sidecars)


def read_sources(sources: Sources) -> list[GivenFile]:
    """Read the files of a data set whole, before anything is written where they may stand.

    Raises:
        InputError: a file cannot be read or has another form.
    """
    kinds: list[tuple[Field, Path | None]] = [
        ("safebox", sources.safeboxes),
        ("px_scale", sources.px_scales),
        ("original_size", sources.original_sizes),
    ]
    given = [GivenFile(path, field, read_sidecar(path, field)) for field, path in kinds if path is not None]
    for file in given:
        if file.field == "safebox":
            _check_boxes(file)
    return given + [GivenFile(path, "captions", read_captions(path)) for path in sources.captions]


def _check_boxes(file: GivenFile) -> None:
    for name, (left, top, right, bottom) in file.sidecar.values.items():
        if left > right or top > bottom:
            raise InputError(
                f"{file.path}: the safebox of {name!r} ends before it begins: {[left, top, right, bottom]}",
                "A box is [left, top, right, bottom], x to the right and y down.",
            )


def import_sidecars(
    catalog: Catalog, files: Sequence[GivenFile], sidecars: Literal["jsonl", "fork"] = "jsonl"
) -> list[Imported]:
    """Bring files into a catalog. Given boxes and scales stand before any that we found ourselves.

    What somebody else wrote is about his own files: pixels of the source, also where `--max-edge` shrank it.

    Args:
        catalog: open for writing.
        files: as `read_sources` gives them.
        sidecars: form in which safeboxes.jsonl and px_scales.jsonl beside the catalog are written anew.

    Raises:
        InputError: the sidecars beside the catalog cannot be written.
    """
    pictures = catalog.arrow(
        "SELECT key, source_width_px AS width_px, source_height_px AS height_px FROM pictures"
    ).to_pylist()
    sizes = {row["key"]: row for row in pictures}
    done = []
    for file in files:
        if file.field != "captions":
            matched = match_keys(file.sidecar, sizes)
            _replace(catalog, file.field, matched.values, sizes)
            done.append(Imported(file.path, file.field, matched))
    captions: dict[str | Path, Sidecar] = {
        file.path: file.sidecar for file in files if file.field == "captions"
    }
    done += [Imported(new.path, "captions", new.matched) for new in import_captions(catalog, captions)]
    write_sidecars(catalog, sidecars)
    return done


def _replace(
    catalog: Catalog, field: Field, values: Mapping[str, Any], sizes: Mapping[str, Mapping[str, Any]]
) -> None:
    """Put given values in the place of what stands in the catalog; failed pictures have no size."""
    table, row_of = _ROWS[field]
    rows = [row_of(sizes[key], value) for key, value in values.items() if sizes[key]["width_px"]]
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


_ROWS = {
    "safebox": ("boxes", _box_row),
    "px_scale": ("px_scales", _scale_row),
    "original_size": ("px_scales", _size_row),
}
"""Where a field is stored, and how a picture and a value become a row."""
