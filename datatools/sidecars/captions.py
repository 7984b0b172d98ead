"""Captions in lists, into the catalog: the fork's JSON, JSON Lines, or Parquet, here or behind a URL."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from datatools.catalog import Catalog
from datatools.errors import InputError
from datatools.files.sources import fetch, is_remote
from datatools.keys import check_key
from datatools.sidecars.forms import Matched, Sidecar, match_keys, read_sidecar

__all__ = ["CaptionReport", "import_captions", "read_captions"]


@dataclass(frozen=True, slots=True)
class CaptionReport:
    """What a caption file brought."""

    path: str | Path
    n_pictures: int
    n_captions: int
    matched: Matched


def read_captions(path: str | Path) -> Sidecar:
    """Captions of a file by key or stem; a Parquet file has columns key and caption or captions.

    Args:
        path: a file, or a URL as a string.

    Raises:
        InputError: the file cannot be read or has another form.
    """
    if not is_remote(str(path)):
        return _read(Path(path))
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / str(path).rsplit("/", 1)[-1]
        try:
            copy.write_bytes(fetch(str(path)))
        except Exception as error:  # every remote store has exceptions of its own
            what = f"{path} cannot be read: {type(error).__name__}: {error}"
            raise InputError(what, "Check the URL and your access to it.") from error
        try:
            return _read(copy)
        except InputError as error:
            raise InputError(error.what.replace(str(copy), str(path)), error.remedy) from error


def _read(path: Path) -> Sidecar:
    if path.suffix.lower() != ".parquet":
        return read_sidecar(path, "captions")
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}", "Check the file.") from error
    column = next((name for name in ("captions", "caption") if name in table.column_names), None)
    if column is None or "key" not in table.column_names:
        raise InputError(f"{path} has no columns key and caption", f"It has {', '.join(table.column_names)}.")
    values: dict[str, Any] = {}
    for key, value in zip(table["key"].to_pylist(), table[column].to_pylist(), strict=True):
        captions = _as_list(value)
        if not isinstance(key, str) or not all(isinstance(caption, str) for caption in captions):
            raise InputError(f"{path}: key {key!r} with {column} {value!r} is no text", "Write both as text.")
        try:
            check_key(key)
        except InputError as error:
            raise InputError(f"{path}: {error.what}", error.remedy) from error
        values.setdefault(key, []).extend(captions)
    return Sidecar("jsonl", values)


def import_captions(catalog: Catalog, files: Mapping[str | Path, Sidecar]) -> list[CaptionReport]:
    """Bring captions into the catalog; what an earlier build took from the same file is replaced.

    Args:
        catalog: open for writing.
        files: captions as `read_captions` gives them, by file.
    """
    keys = catalog.arrow("SELECT key FROM store.pictures")["key"].to_pylist()
    reports = []
    for path, captions in files.items():
        matched = match_keys(captions, keys)
        source = str(path) if is_remote(str(path)) else str(Path(path).resolve())
        rows = [
            {"key": key, "caption": caption, "position": position, "source": source}
            for key, value in sorted(matched.values.items())
            for position, caption in enumerate(_as_list(value))
        ]
        with catalog.transaction():
            catalog.delete("captions", pa.table({"source": [source]}))
            catalog.append("captions", catalog.table("captions", rows))
        reports.append(CaptionReport(path, len(matched.values), len(rows), matched))
    return reports


def _as_list(value: Any) -> list[str]:
    if value is None:
        return []
    return [caption for caption in value if caption is not None] if isinstance(value, list) else [value]
