"""Sidecar files: the fork's (one JSON object keyed by file stem) and JSON Lines keyed by relative path.

Which of the two a file is shows its content: a JSON Lines file begins with an object that has a string
"key" and the field it is about. Everything else must be one JSON object.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from datatools.atomic import atomic_open, fsync_directory
from datatools.bounded_files import open_regular
from datatools.catalog import Catalog
from datatools.console import say
from datatools.errors import InputError
from datatools.files.keeping import keep_copy
from datatools.keys import StemIndex, check_key, index_stems

__all__ = ["Field", "Matched", "Sidecar", "match_keys", "read_sidecar", "write_sidecar", "write_sidecars"]

Field = Literal["safebox", "px_scale", "original_size", "captions"]

_QUERIES: dict[str, str] = {
    "safebox": 'SELECT key, ["left", top, "right", bottom]::DOUBLE[] AS value FROM safeboxes ORDER BY key',
    "px_scale": "SELECT key, [sx, sy]::DOUBLE[] AS value FROM px_scales ORDER BY key",
    "captions": """SELECT key, list(caption ORDER BY source, position) AS value FROM captions
        GROUP BY key ORDER BY key""",
}

_MAX_BYTES = 4 * 2**30


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A sidecar file as it stands."""

    form: Literal["jsonl", "fork"]
    values: dict[str, Any]
    """By key (jsonl) or by stem (fork). Null values are left out: the fork takes them as missing."""


@dataclass(frozen=True, slots=True)
class Matched:
    """A sidecar's values brought to the pictures of a catalog."""

    values: dict[str, Any]
    """By key."""
    unmatched: list[str]
    """Names that no picture has."""
    shared: dict[str, list[str]]
    """Stems that several pictures share, with their keys: not used."""


def read_sidecar(path: Path, field: Field) -> Sidecar:
    """Read a sidecar of either form.

    Args:
        path: the file.
        field: what it is about.

    Raises:
        InputError: it cannot be read, is neither form, or a value has the wrong shape; says which and where.
    """
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > _MAX_BYTES:
                raise InputError(f"{path} has more than {_MAX_BYTES} bytes", "Split it into several files.")
            first = _parsed(file.readline())
            jsonl = isinstance(first, dict) and isinstance(first.get("key"), str) and field in first
            file.seek(0)
            values = dict(_jsonl(path, file, field)) if jsonl else _object(path, file.read())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", "Check the path.") from error
    for name, value in values.items():
        _check_value(path, name, field, value)
    return Sidecar("jsonl" if jsonl else "fork", {k: v for k, v in values.items() if v is not None})


def match_keys(sidecar: Sidecar, keys: Iterable[str]) -> Matched:
    """Find the picture of each value. A stem that several pictures share is reported, not guessed."""
    stems = index_stems(keys)
    if sidecar.form == "jsonl":
        known = {*stems.key_of.values(), *(key for same in stems.shared.values() for key in same)}
        found = {key: value for key, value in sidecar.values.items() if key in known}
        return Matched(found, [key for key in sidecar.values if key not in known], {})
    return _match_stems(sidecar.values, stems)


def write_sidecar(
    path: Path, catalog: Catalog, field: Field, form: Literal["jsonl", "fork"]
) -> dict[str, list[str]]:
    """Write one sidecar from the catalog, whole or not at all.

    Returns:
        Stems shared by several pictures, with their keys; the fork's form leaves those pictures out.
    """
    rows = ((key, value) for batch in catalog.batches(_QUERIES[field]) for key, value in _pairs(batch))
    with atomic_open(path) as file:
        if form == "jsonl":
            for key, value in rows:
                file.write(_line({"key": key, field: value}) + b"\n")
            return {}
        stems = index_stems(
            key for batch in catalog.batches("SELECT key FROM pictures") for key in batch["key"].to_pylist()
        )
        _write_object(file, rows, stems)
        return stems.shared


def write_sidecars(catalog: Catalog, form: Literal["jsonl", "fork"]) -> dict[str, list[str]]:
    """Write safeboxes.jsonl and px_scales.jsonl beside the catalog.

    A file that stands there and is not the one this catalog wrote (somebody's own, or that of another catalog
    in the folder) is kept as a copy with `.orig` at the end, and a message says so.

    Returns:
        Stems that several pictures share, with their keys.

    Raises:
        InputError: a file cannot be written.
    """
    try:
        shared = _write_ours(catalog, "safeboxes.jsonl", "safebox", form)
        _write_ours(catalog, "px_scales.jsonl", "px_scale", form)
    except OSError as error:
        raise InputError(
            f"sidecars cannot be written beside {catalog.path}: {error.strerror}",
            "The catalog is complete. Make the folder writable and run the same command again.",
        ) from error
    return shared


def _write_ours(
    catalog: Catalog, name: str, field: Field, form: Literal["jsonl", "fork"]
) -> dict[str, list[str]]:
    path, remembered = catalog.path.parent / name, f"sha256 of {name}"
    draft = path.with_name(f".{name}.{catalog.path.name}.new")
    try:
        shared = write_sidecar(draft, catalog, field, form)
        new, ours = _digest(draft), (catalog.info(remembered) or "").split()
        old = _digest(path) if path.is_file() else None
        if old is not None and old not in ours and old != new and path.stat().st_size:
            _say_kept(path, keep_copy(path))
        if old is not None:
            draft.chmod(path.stat().st_mode & 0o777)
        # Both, and before the file gets its name: whatever a kill leaves there is known as ours.
        with catalog.transaction():
            catalog.set_info(remembered, f"{old} {new}" if old in ours else new)
        draft.replace(path)
        fsync_directory(path.parent)
    finally:
        draft.unlink(missing_ok=True)
    return shared


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _say_kept(path: Path, copy: Path) -> None:
    # At once and not in a report: it must also be said when what follows fails.
    say(f"warning: {path} was not written by this catalog; what stood there is kept as {copy}")


def _pairs(batch: Any) -> Iterator[tuple[str, Any]]:
    return zip(batch["key"].to_pylist(), batch["value"].to_pylist(), strict=True)


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)  # one for all: a million lines is many


def _line(value: Any) -> bytes:
    # JSON escapes newlines; U+2028 and its like are no line ends for a reader that splits at \n, as ours
    # does.
    return _ENCODER.encode(_short(value)).encode("utf-8")


def _short(value: Any) -> Any:
    """Whole coordinates without a fraction, others with two places: what a pixel is worth."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else round(value, 6)
    if isinstance(value, dict):
        return {name: _short(item) for name, item in value.items()}
    return [_short(item) for item in value] if isinstance(value, list) else value


def _write_object(file: IO[bytes], rows: Iterable[tuple[str, Any]], stems: StemIndex) -> None:
    stem_of_key = {key: stem for stem, key in stems.key_of.items()}
    file.write(b"{")
    separator = b"\n"
    for key, value in rows:
        if key in stem_of_key:
            file.write(separator + _line(stem_of_key[key]) + b": " + _line(value))
            separator = b",\n"
    file.write(b"\n}\n")


def _parsed(data: bytes) -> Any:
    """A JSON value, None where there is none: a fork's file may be spread over many lines."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _jsonl(path: Path, lines: Iterable[bytes], field: Field) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = _parsed(line)
        if not isinstance(row, dict) or not isinstance(row.get("key"), str) or field not in row:
            raise InputError(
                f'{path}, line {number}, is not an object with "key" and "{field}"',
                "Correct or remove the line.",
            )
        try:
            check_key(row["key"])
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error.what}", error.remedy) from error
        yield row["key"], row[field]


def _object(path: Path, data: bytes) -> dict[str, Any]:
    if not data.strip():
        return {}
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is neither JSON Lines with keys nor one JSON object: {error}",
            "See docs/data-formats.md.",
        ) from error
    if not isinstance(value, dict):
        raise InputError(
            f"{path} holds a JSON {type(value).__name__}, not an object", "See docs/data-formats.md."
        )
    return value


def _check_value(path: Path, name: str, field: Field, value: Any) -> None:
    if value is None:
        return
    if field == "captions":
        good = isinstance(value, str) or (isinstance(value, list) and all(isinstance(c, str) for c in value))
    else:
        n = 4 if field == "safebox" else 2
        good = isinstance(value, list) and len(value) == n and all(_is_number(x) for x in value)
        good = good and (field == "safebox" or min(value) > 0)
    if not good:
        shapes: Mapping[Field, str] = {
            "safebox": "[left, top, right, bottom]",
            "px_scale": "[sx, sy], both more than 0",
            "original_size": "[width, height], both more than 0",
            "captions": "a string or a list of strings",
        }
        raise InputError(f"{path}: the {field} of {name!r} is not {shapes[field]}", "Correct the value.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _match_stems(values: Mapping[str, Any], stems: StemIndex) -> Matched:
    found = {stems.key_of[stem]: value for stem, value in values.items() if stem in stems.key_of}
    shared = {stem: stems.shared[stem] for stem in values if stem in stems.shared}
    return Matched(found, [s for s in values if s not in stems.key_of and s not in stems.shared], shared)
