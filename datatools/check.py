"""Does a catalog still say the truth? Against itself, its files and its sidecars."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from datatools.bookkeeping.record import Recorder
from datatools.bookkeeping.speak import rule_from_json
from datatools.catalog import Catalog
from datatools.console import progress
from datatools.errors import InputError
from datatools.fingerprint import sha256_of
from datatools.shrink import PictureStore
from datatools.sidecars import Field, read_sidecar

__all__ = ["Problem", "check_catalog"]

# Each query lists keys for which something does not hold.
_INSIDE = {
    "two rows of pictures": "SELECT key FROM store.pictures GROUP BY key HAVING count(*) > 1",
    "two transcriptions": "SELECT key FROM store.spoken GROUP BY key HAVING count(*) > 1",
    "two readings of one reader": """
        SELECT key FROM store.readings JOIN store.readers USING (reader)
        GROUP BY key, engine HAVING count(*) > 1""",
    "rows without a picture": """
        SELECT key FROM (SELECT key FROM store.readings UNION SELECT key FROM store.spoken
            UNION SELECT key FROM store.captions UNION SELECT key FROM store.px_scales
            UNION SELECT key FROM store.boxes)
        WHERE key NOT IN (SELECT key FROM store.pictures)""",
    "safebox outside the picture": """
        SELECT key FROM safeboxes JOIN pictures USING (key)
        WHERE "left" < 0 OR top < 0 OR "right" > width_px OR bottom > height_px
            OR "left" > "right" OR top > bottom""",
    "failed without a cause": "SELECT key FROM pictures WHERE (status = 'failed') != (cause IS NOT NULL)",
}

_SIDECARS: dict[Field, tuple[str, str]] = {
    "safebox": ("safeboxes.jsonl", 'SELECT key, ["left", top, "right", bottom] AS value FROM safeboxes'),
    "px_scale": ("px_scales.jsonl", "SELECT key, [sx, sy] AS value FROM px_scales"),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that does not hold."""

    what: str
    key: str
    """The picture or file it is about."""


def check_catalog(catalog: Catalog, *, hash_files: bool = False) -> Iterator[Problem]:
    """Verify a catalog; yields what does not hold.

    Args:
        catalog: an open catalog.
        hash_files: also read every file and compare its sha256 (slow).
    """
    for what, sql in _INSIDE.items():
        yield from (Problem(what, key) for key in catalog.arrow(sql)["key"].to_pylist())
    yield from _check_spoken(catalog)
    yield from _check_files(catalog, hash_files=hash_files)
    yield from _check_stored(catalog, hash_files=hash_files)
    yield from _check_sidecars(catalog)


def _check_spoken(catalog: Catalog) -> Iterator[Problem]:
    """Transcriptions follow from readings, .txt files and the rule; derive them again and compare."""
    rule = catalog.info("rule")
    if rule is None:
        return
    recorder = Recorder(catalog, 0, {}, rule_from_json(rule))
    keys = catalog.arrow("SELECT key FROM store.pictures ORDER BY key")["key"].to_pylist()
    for i in range(0, len(keys), 10_000):
        part = keys[i : i + 10_000]
        with catalog.given("given_checked", pa.table({"key": part})):
            stored = catalog.arrow("SELECT * FROM store.spoken WHERE key IN (SELECT key FROM given_checked)")
        derived = catalog.table("spoken", recorder.derive(part))
        wrong = {str(row) for row in derived.to_pylist()} ^ {str(row) for row in stored.to_pylist()}
        both = (*derived.to_pylist(), *stored.to_pylist())
        bad = sorted({row["key"] for row in both if str(row) in wrong})
        yield from (Problem("transcription does not follow from its readings", key) for key in bad)


def _check_files(catalog: Catalog, *, hash_files: bool) -> Iterator[Problem]:
    local = "FROM store.pictures WHERE uri != '' AND NOT contains(uri, '://')"
    total = int(catalog.value(f"SELECT count(*) {local}"))
    with progress("checking files", total) as advance:
        for batch in catalog.batches(
            f"SELECT key, uri, size_bytes, mtime_ns, sha256, cause {local} ORDER BY key"
        ):
            for row in batch.to_pylist():
                advance()
                try:
                    what = _file_problem(row, hash_files=hash_files)
                except OSError as error:  # one file that may not be read hides none of the others
                    what = f"file cannot be read: {error.strerror}"
                if what is not None:
                    yield Problem(what, row["key"])


def _file_problem(row: dict[str, Any], *, hash_files: bool) -> str | None:
    path = Path(row["uri"])
    if not path.is_file():
        # A row of a list, or of a file that was gone when it was to be read, says so itself.
        return None if row["cause"] == "missing" else "file is gone"
    stat = path.stat()
    if (stat.st_size, stat.st_mtime_ns) != (row["size_bytes"], row["mtime_ns"]):
        return "file has changed"
    if hash_files and row["sha256"] not in (None, sha256_of(path.read_bytes())):
        return "file has other bytes at the same size and time"
    return None


def _check_stored(catalog: Catalog, *, hash_files: bool) -> Iterator[Problem]:
    """Shrunk copies: all there, of the right size, and none that no row names."""
    rows = catalog.arrow(
        """SELECT stored_uri AS uri, min(key) AS key, min(stored_bytes) AS size, min(stored_sha256) AS sha256
        FROM store.pictures WHERE stored_uri IS NOT NULL GROUP BY ALL ORDER BY key"""
    )
    for row in rows.to_pylist():
        path = Path(row["uri"])
        if not path.is_file():
            yield Problem("shrunk picture is gone", row["key"])
        elif path.stat().st_size != row["size"] or (
            hash_files and sha256_of(path.read_bytes()) != row["sha256"]
        ):
            yield Problem("shrunk picture has changed", row["key"])
    named = set(rows["uri"].to_pylist())
    strays = [path for path in PictureStore(catalog.path).paths() if path not in named]
    yield from (Problem("shrunk picture of no row", path) for path in sorted(strays))


def _check_sidecars(catalog: Catalog) -> Iterator[Problem]:
    for field, (name, sql) in _SIDECARS.items():
        path = catalog.path.parent / name
        if not path.is_file():
            yield Problem("sidecar is missing", name)
            continue
        try:
            sidecar = read_sidecar(path, field)
        except InputError as error:
            yield Problem("sidecar cannot be read", error.what)
            continue
        if sidecar.form == "jsonl":  # the fork's form leaves out what shares a stem
            rows = catalog.arrow(sql).to_pylist()
            expected = {row["key"]: [round(x, 6) for x in row["value"]] for row in rows}  # as it is written
            wrong = {
                key for key in {*expected, *sidecar.values} if expected.get(key) != sidecar.values.get(key)
            }
            yield from (Problem(f"{name} differs from the catalog", key) for key in sorted(wrong))
