"""A catalog at training resolution: pictures shrunk once and stored raw, boxes and px scales with them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from datatools.bookkeeping.record import Recorder
from datatools.bookkeeping.speak import rule_from_json
from datatools.catalog import Catalog, open_catalog
from datatools.catalog.limits import known_limits, widen_limits
from datatools.catalog.packed import PACKED_CATALOG, PACKED_PICTURES
from datatools.catalog.records import Record, count_usable, read_records
from datatools.console import progress
from datatools.decode import Limits, decode
from datatools.errors import InputError
from datatools.export.forms import ExportReport, new_folder, with_bytes
from datatools.fingerprint import sha256_of
from datatools.keys import MAX_PART_BYTES, txt_key
from datatools.sidecars import write_sidecars

__all__ = ["pack_catalog"]

_BATCH = 256


def pack_catalog(
    catalog: Catalog, out: Path, short_edge_px: int, *, drop_duplicates: bool = False
) -> ExportReport:
    """Write shrunk copies of all usable pictures and a catalog of them into the new folder `out`.

    Pictures become uncompressed BMP files, whose decoding is a copy of memory; the new catalog,
    `out`/catalog.duckdb, is trained from like any other. Readings, boxes and px scales are scaled with the
    pictures: no reader is asked again.

    Args:
        catalog: an open catalog.
        out: a folder that is not there yet, or is empty.
        short_edge_px: the shorter edge of a packed picture; smaller pictures stay as they are.
        drop_duplicates: keep one picture of each group of near duplicates.

    Raises:
        InputError: `out` has something in it, or cannot be written.
    """
    rule = catalog.info("rule")
    if rule is None:
        raise InputError(f"{catalog.path} was never built", "Run `datatools build-catalog` first.")
    report, limits = ExportReport(), known_limits(catalog)
    with new_folder(out) as folder, progress(f"packing {out.name}", count_usable(catalog)) as advance:
        root = out.absolute() / PACKED_PICTURES
        with open_catalog(folder / PACKED_CATALOG, "write") as packed:
            recorder = Recorder(packed, 1, {}, rule_from_json(rule))
            _begin(catalog, packed, str(root), rule)
            samples = with_bytes(read_records(catalog, drop_duplicates=drop_duplicates), report)
            while batch := list(islice(samples, _BATCH)):
                pictures = [_Packed(record, data, short_edge_px, limits) for record, data in batch]
                for picture in pictures:
                    picture.write(folder / PACKED_PICTURES)
                _store(catalog, recorder, pictures, root)
                advance(len(batch))
            write_sidecars(packed, "jsonl")
    return report


class _Packed:
    """A picture on its way: its new bytes, and how much smaller it became."""

    def __init__(self, record: Record, data: bytes, short_edge_px: int, limits: Limits) -> None:
        image = Image.fromarray(decode(data, limits))
        factor = min(1.0, short_edge_px / min(image.size))
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        self.record = record
        # The old name is kept whole, so that a.png and a.jpg stay two pictures.
        self.key = _packed_key(record.key)
        self.scale = (size[0] / image.width, size[1] / image.height)
        self.size_px = size
        buffer = io.BytesIO()
        # Bicubic over the whole support, as the trainer shrinks (fork_spec 3.1).
        (image if factor == 1 else image.resize(size, Image.Resampling.BICUBIC)).save(buffer, "BMP")
        self.data = buffer.getvalue()

    def write(self, folder: Path) -> None:
        path = folder / self.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.data)
        stat = path.stat()
        self.stat = (stat.st_size, stat.st_mtime_ns)
        if self.record.source == "given":
            path.with_suffix(".txt").write_text(self.record.text, encoding="utf-8", newline="\n")

    def picture_row(self, root: Path, phash: int | None) -> dict[str, Any]:
        return {
            "key": self.key,
            "uri": str(root / self.key),
            "sha256": sha256_of(self.data),
            "phash": phash,
            "size_bytes": self.stat[0],
            "mtime_ns": self.stat[1],
            "status": "ok",
            "n_attempts": 0,
            "build": 1,
            "width_px": self.size_px[0],
            "height_px": self.size_px[1],
            "source_width_px": self.size_px[0],
            "source_height_px": self.size_px[1],
        }

    def scaled(self, flat: Sequence[float]) -> list[float]:
        """x, y, x, y, … of the original picture in pixels of the packed one."""
        return [value * self.scale[i % 2] for i, value in enumerate(flat)]


def _packed_key(key: str) -> str:
    """`<key>.bmp`, or a digest where the longer name would be longer than a part of a key may be."""
    folder, slash, name = f"{key}.bmp".rpartition("/")
    if len(name.encode("utf-8")) > MAX_PART_BYTES:
        name = f"{sha256_of(key.encode('utf-8'))}.bmp"
    return f"{folder}{slash}{name}"


def _begin(catalog: Catalog, packed: Catalog, root: str, rule: str) -> None:
    now = datetime.now(UTC).replace(tzinfo=None)
    build = {"build": 1, "started_at": now, "finished_at": now, "outcome": "finished", "source": root}
    note = {"program": f"packed from {catalog.path.name}", "settings": "{}"}
    with packed.transaction():
        packed.set_info("source", root)
        packed.set_info("rule", rule)
        widen_limits(packed, known_limits(catalog))
        packed.append("readers", catalog.arrow("SELECT * FROM store.readers"))
        packed.append("builds", packed.table("builds", [build | note]))


_OLD = {
    "pictures": "pictures",
    "readings": "store.readings",
    "boxes": "(FROM safeboxes WHERE key IN (SELECT key FROM store.boxes))",
    "captions": "captions",
    "px_scales": "px_scales",
}
"""What a pack takes over; boxes and scales as the views have them, in pixels of the stored picture."""


def _store(catalog: Catalog, recorder: Recorder, pictures: Sequence[_Packed], root: Path) -> None:
    """Rows of a batch: what the old catalog says, in the packed pictures' pixels."""
    packed, by_key = recorder.catalog, {picture.record.key: picture for picture in pictures}
    with catalog.given("given_packed", pa.table({"key": list(by_key)})):
        old = {
            name: catalog.arrow(
                f"SELECT * FROM {table} WHERE key IN (SELECT key FROM given_packed)"
            ).to_pylist()
            for name, table in _OLD.items()
        }
    hashes = {row["key"]: row["phash"] for row in old["pictures"]}
    scales = {row["key"]: row for row in old["px_scales"]}
    rows = {
        "pictures": [picture.picture_row(root, hashes[key]) for key, picture in by_key.items()],
        "readings": [_scaled_reading(row, by_key[row["key"]]) for row in old["readings"]],
        "boxes": [_scaled_box(row, by_key[row["key"]]) for row in old["boxes"]],
        "captions": [row | {"key": by_key[row["key"]].key} for row in old["captions"]],
        "px_scales": [r for key, p in by_key.items() if (r := _px_scale(scales.get(key), p)) is not None],
        "texts": [_given_text(picture, root) for picture in pictures if picture.record.source == "given"],
    }
    with packed.transaction():
        for name, new in rows.items():
            packed.append(name, packed.table(name, new))
    recorder.respeak([picture.key for picture in pictures])


def _scaled_reading(row: dict[str, Any], picture: _Packed) -> dict[str, Any]:
    scaled = [line | {"polygon": picture.scaled(line["polygon"])} for line in row["lines"]]
    return row | {"key": picture.key, "lines": scaled, "build": 1}


def _scaled_box(row: dict[str, Any], picture: _Packed) -> dict[str, Any]:
    sides = ("left", "top", "right", "bottom")
    return row | {
        "key": picture.key,
        **dict(zip(sides, picture.scaled([row[s] for s in sides]), strict=True)),
    }


def _px_scale(known: dict[str, Any] | None, picture: _Packed) -> dict[str, Any] | None:
    """Stored / original size: what was known of the picture times our own shrinking."""
    if known is not None:
        sx, sy = picture.scaled([known["sx"], known["sy"]])
        return {"key": picture.key, "sx": sx, "sy": sy, "source": known["source"]}
    if picture.scale == (1.0, 1.0):
        return None
    return {"key": picture.key, "sx": picture.scale[0], "sy": picture.scale[1], "source": "shrunk"}


def _given_text(picture: _Packed, root: Path) -> dict[str, Any]:
    data = picture.record.text.encode("utf-8")
    uri = str(root / txt_key(picture.key))
    return {
        "key": picture.key,
        "uri": uri,
        "origin": "given",
        "text": picture.record.text,
        "sha256": sha256_of(data),
        "size_bytes": len(data),
    }
