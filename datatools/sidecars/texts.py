r"""The .txt files beside pictures: read as ground truth, or written by us and known as such.

Grammar: UTF-8 (a byte order mark is skipped), lines parted by "\n" or "\r\n", one newline at the very end
is the end of the last line and no text. An empty file says that the picture has no text.

A file is ours when its bytes are what the catalog says we wrote there, or were about to write when the
process died; anything else was written by somebody who knows better, and speaks before any reader.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from datatools.atomic import write_text_atomic
from datatools.catalog import Catalog
from datatools.errors import InputError
from datatools.files.keeping import keep_copy
from datatools.files.sources import fetch
from datatools.fingerprint import sha256_of
from datatools.keys import key_below, txt_key
from datatools.scan import ImageRef, Listing

__all__ = ["MAX_BYTES", "TxtReport", "check_txt_target", "parse_txt", "sync_texts", "write_texts"]

MAX_BYTES = 2**20
"""Of a .txt or .caption file."""

_CLASH = "one .txt for "


@dataclass(slots=True)
class TxtReport:
    """What became of transcriptions that were to be written."""

    n_written: int = 0
    n_current: int = 0
    """Already there as they should be."""
    n_given: int = 0
    """Somebody else's file stands there; it was left alone."""
    shared: list[str] = field(default_factory=list)
    """Keys whose .txt another picture would share; none was written."""
    unwritten: dict[str, str] = field(default_factory=dict)
    """Paths that could not be written, with what the file system says."""


def parse_txt(data: bytes) -> str:
    r"""The text in the bytes of a .txt file.

    Raises:
        ValueError: not UTF-8, NUL in it, or more than a mebibyte.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"more than the limit of {MAX_BYTES} bytes")
    text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        raise ValueError("it holds NUL bytes")
    return text.removesuffix("\n")


def sync_texts(catalog: Catalog, listing: Listing, *, overrule: bool) -> list[str]:
    """Bring the catalog's texts up to the .txt files that stand in the source.

    Args:
        catalog: open for writing.
        listing: pictures and .txt files of the source.
        overrule: somebody else's files are not to speak (they are about to be overwritten).

    Returns:
        Keys of pictures whose given text appeared, changed or went.
    """
    rows = catalog.arrow("SELECT * FROM store.texts").to_pylist()
    old: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        old[row["key"], row["uri"]].append(row)
    new: list[dict[str, Any]] = []
    stale: list[tuple[str, str]] = []
    changed: list[str] = []
    for txt, keys in _claims(listing):
        for key in keys:
            before = old.pop((key, txt.uri), [])
            if _unchanged(before, txt, keys, overrule=overrule):
                continue
            row = _inspect(txt, key, keys, {b["sha256"] for b in before if b["origin"] == "written"})
            if overrule and row["origin"] == "given":
                row["origin"] = "overruled"
            new.append(row)
            stale.append((key, txt.uri))
            if "given" in (row["origin"], *(b["origin"] for b in before)):
                changed.append(key)
    for (key, uri), gone in old.items():
        if any(row["origin"] != "written" for row in gone):
            stale.append((key, uri))
            changed.append(key)
    _store(catalog, stale, new)
    return changed


def check_txt_target(root: str, target: Literal["beside"] | Path) -> None:
    """Try out whether files can be made where `write_texts` will, before hours of reading.

    Raises:
        InputError: they cannot; says why.
    """
    folder = _folder(root, target)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(
            f".txt files cannot be written into {folder}: {error.strerror}",
            "Give --write-txt a folder that you may write to.",
        ) from error


def write_texts(
    catalog: Catalog, root: str, target: Literal["beside"] | Path, *, overwrite: bool
) -> TxtReport:
    """Write the transcriptions that readers made, as .txt files.

    What is to be written is in the catalog before it is on the disk, so that after a kill it is known as
    ours.

    Args:
        catalog: open for writing.
        root: the source folder.
        target: "beside" the pictures, or the folder of a tree of their own.
        overwrite: write over somebody else's files; each is first copied to .txt.orig.
    """
    report = TxtReport()
    folder = _folder(root, target)
    report.shared = _shared_txt(catalog)
    shared = set(report.shared)
    spoken = "SELECT key, text FROM store.spoken WHERE source != 'given' ORDER BY key"
    for batch in catalog.batches(spoken):
        rows = [row for row in batch.to_pylist() if row["key"] not in shared]
        _write_batch(catalog, folder, rows, report, overwrite=overwrite)
    return report


def _folder(root: str, target: Literal["beside"] | Path) -> Path:
    return Path(root) if target == "beside" else target.resolve()


def _claims(listing: Listing) -> Iterator[tuple[ImageRef, list[str]]]:
    """Each .txt file with the pictures it would belong to."""
    claims: dict[str, list[str]] = defaultdict(list)
    for image in listing.images if listing.texts else ():
        name = txt_key(image.key)
        if name in listing.texts:
            claims[name].append(image.key)
    for name, keys in claims.items():
        yield listing.texts[name], keys


def _unchanged(
    before: Sequence[dict[str, Any]], txt: ImageRef, keys: Sequence[str], *, overrule: bool
) -> bool:
    if len(before) != 1:
        return False
    row = before[0]
    if row["origin"] == ("given" if overrule else "overruled"):
        return False
    detail = row["detail"] or ""
    if (detail if detail.startswith(_CLASH) else None) != (_clash(keys) if len(keys) > 1 else None):
        return False
    return bool(row["size_bytes"] == txt.size_bytes and row["mtime_ns"] == txt.mtime_ns)


def _clash(keys: Sequence[str]) -> str:
    return f"{_CLASH}{', '.join(keys)}"


def _inspect(txt: ImageRef, key: str, keys: Sequence[str], ours: set[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"key": key, "uri": txt.uri, "size_bytes": txt.size_bytes, "mtime_ns": txt.mtime_ns}
    try:
        data = fetch(txt.uri, MAX_BYTES + 1)
        row["sha256"] = sha256_of(data)
        if row["sha256"] in ours:
            return row | {"origin": "written"}
        if len(keys) > 1:
            return row | {"origin": "refused", "detail": _clash(keys)}
        return row | {"origin": "given", "text": parse_txt(data)}
    except (OSError, ValueError) as error:
        return row | {"origin": "refused", "detail": str(error)[:200]}


def _store(catalog: Catalog, stale: Sequence[tuple[str, str]], new: Sequence[dict[str, Any]]) -> None:
    with catalog.transaction():
        if stale:
            keys, uris = zip(*stale, strict=True)
            catalog.delete("texts", pa.table({"key": keys, "uri": uris}))
        catalog.append("texts", catalog.table("texts", new))


def _shared_txt(catalog: Catalog) -> list[str]:
    claims: dict[str, list[str]] = defaultdict(list)
    for batch in catalog.batches("SELECT key FROM store.pictures WHERE status = 'ok'"):
        for key in batch["key"].to_pylist():
            claims[txt_key(key)].append(key)
    return sorted(key for keys in claims.values() if len(keys) > 1 for key in keys)


def _write_batch(
    catalog: Catalog, folder: Path, rows: Sequence[dict[str, Any]], report: TxtReport, *, overwrite: bool
) -> None:
    paths = {row["key"]: key_below(folder, txt_key(row["key"])) for row in rows}
    ours = _written(catalog, list(paths))
    todo = []
    for row in rows:
        path, digest = paths[row["key"]], sha256_of(row["text"].encode("utf-8"))
        try:
            current = sha256_of(path.read_bytes()) if path.is_file() else None
        except OSError as error:
            report.unwritten[str(path)] = _why(error)
            continue
        foreign = current is not None and current not in ours[row["key"], str(path)]
        if current == digest and not foreign:
            report.n_current += 1
        elif foreign and not overwrite:
            report.n_given += 1
        else:
            todo.append((row, path, digest, foreign))
    _store(catalog, [], [_intent(row["key"], path, digest) for row, path, digest, _ in todo])
    for row, path, _, foreign in todo:
        try:
            if foreign:
                keep_copy(path)
            write_text_atomic(path, row["text"])
            report.n_written += 1
        except OSError as error:  # one folder that cannot be written does not cost the other texts
            report.unwritten[str(path)] = _why(error)


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _intent(key: str, path: Path, digest: str) -> dict[str, Any]:
    return {"key": key, "uri": str(path), "origin": "written", "sha256": digest}


def _written(catalog: Catalog, keys: Sequence[str]) -> dict[tuple[str, str], set[str]]:
    with catalog.given("given_written", pa.table({"key": pa.array(keys, pa.string())})):
        rows = catalog.arrow(
            """SELECT key, uri, sha256 FROM store.texts
            WHERE origin = 'written' AND key IN (SELECT key FROM given_written)"""
        ).to_pylist()
    ours: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows:
        ours[row["key"], row["uri"]].add(row["sha256"])
    return ours
