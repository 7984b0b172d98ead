"""`.caption` files: `<picture without its last extension>.caption`, UTF-8, a caption on each line."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from datatools.catalog import Catalog
from datatools.files.sources import fetch
from datatools.keys import sibling_key
from datatools.scan import ImageRef, Listing
from datatools.sidecars.texts import MAX_BYTES, parse_txt

__all__ = ["CaptionFiles", "sync_caption_files"]

_CLASH = "it would belong to "
_THREADS = 8  # what they wait for is the disk or a store


@dataclass(slots=True)
class CaptionFiles:
    """What became of the .caption files of a source."""

    n_files: int = 0
    """Files that belong to a picture."""
    n_read: int = 0
    """Of these, new or changed ones."""
    refused: dict[str, str] = field(default_factory=dict)
    """Where files are that cannot be used, with the reason."""


def sync_caption_files(catalog: Catalog, listing: Listing) -> CaptionFiles:
    """Bring the catalog's captions up to the .caption files of the source; unchanged ones are not opened.

    Args:
        catalog: open for writing.
        listing: pictures and .caption files of the source.
    """
    claims: dict[str, list[str]] = defaultdict(list)
    for image in listing.images:
        claims[sibling_key(image.key, "caption")].append(image.key)
    rows = catalog.arrow("SELECT * FROM store.caption_files").to_pylist()
    old = {row["key"]: row for row in rows}
    found = [(key, file, claims[name]) for name, file in listing.captions.items() for key in claims[name]]
    todo = [(key, file, keys) for key, file, keys in found if not _unchanged(old.get(key), file, keys)]
    with ThreadPoolExecutor(_THREADS) as pool:
        new = list(pool.map(lambda claim: _inspect(*claim), todo))
    gone = [old[key] for key in {*old} - {key for key, _, _ in found}]
    _store(catalog, [*gone, *(old[row["key"]] for row, _ in new if row["key"] in old)], new)
    refused = catalog.arrow("SELECT DISTINCT uri, detail FROM store.caption_files WHERE detail IS NOT NULL")
    reasons = {row["uri"]: row["detail"] for row in refused.to_pylist()}
    return CaptionFiles(len({file.uri for _, file, _ in found}), len({r["uri"] for r, _ in new}), reasons)


def _unchanged(row: dict[str, Any] | None, file: ImageRef, keys: Sequence[str]) -> bool:
    if row is None:
        return False
    detail = row["detail"] or ""
    if (detail if detail.startswith(_CLASH) else None) != (_clash(keys) if len(keys) > 1 else None):
        return False
    return (row["uri"], row["size_bytes"], row["mtime_ns"]) == (file.uri, file.size_bytes, file.mtime_ns)


def _clash(keys: Sequence[str]) -> str:
    return f"{_CLASH}{', '.join(keys)}"


def _inspect(key: str, file: ImageRef, keys: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The row of a file, and its captions."""
    row = {"key": key, "uri": file.uri, "size_bytes": file.size_bytes, "mtime_ns": file.mtime_ns}
    if len(keys) > 1:
        return row | {"detail": _clash(keys)}, []
    try:
        text = parse_txt(fetch(file.uri, MAX_BYTES + 1))
    except Exception as error:  # every remote store has exceptions of its own
        return row | {"detail": str(error)[:200]}, []
    return row, [line.strip() for line in text.split("\n") if line.strip()]


def _store(
    catalog: Catalog, stale: Sequence[dict[str, Any]], new: Sequence[tuple[dict[str, Any], list[str]]]
) -> None:
    keys, uris = [row["key"] for row in stale], [row["uri"] for row in stale]
    captions = [
        {"key": row["key"], "caption": caption, "position": position, "source": row["uri"]}
        for row, lines in new
        for position, caption in enumerate(lines)
    ]
    strings = pa.string()
    with catalog.transaction():
        catalog.delete("caption_files", pa.table({"key": pa.array(keys, strings)}))
        catalog.delete(
            "captions", pa.table({"key": pa.array(keys, strings), "source": pa.array(uris, strings)})
        )
        catalog.append("caption_files", catalog.table("caption_files", [row for row, _ in new]))
        catalog.append("captions", catalog.table("captions", captions))
