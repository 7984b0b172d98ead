"""A catalog and its pictures as other tools want them."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from datatools.catalog import Catalog
from datatools.catalog.limits import known_limits
from datatools.catalog.records import Record, count_usable, read_records
from datatools.config import ExportFormat
from datatools.console import progress
from datatools.decode import Limits, decode, is_plain
from datatools.errors import InputError
from datatools.files.sources import fetch
from datatools.fingerprint import sha256_of
from datatools.keys import stem_of

__all__ = ["ExportFormat", "ExportReport", "export_catalog", "new_folder", "with_bytes"]

_MAX_STEM_BYTES = 200  # of the 255 that file systems take: room for a number and an extension


@dataclass(slots=True)
class ExportReport:
    """What was written."""

    n_written: int = 0
    failures: dict[str, int] = field(default_factory=Counter)
    """Pictures left out, by cause: gone or changed since they were catalogued."""


def export_catalog(
    catalog: Catalog,
    out: Path,
    form: ExportFormat,
    *,
    drop_duplicates: bool = False,
    shard_pictures: int = 1000,
) -> ExportReport:
    """Write all usable pictures with what is known of them into the new folder `out`, whole or not at all.

    Args:
        catalog: an open catalog.
        out: a folder that is not there yet, or is empty.
        form: see docs/data-formats.md.
        drop_duplicates: keep one picture of each group of near duplicates.
        shard_pictures: pictures in a shard (webdataset and huggingface).

    Raises:
        InputError: `out` has something in it, or cannot be written.
    """
    writers: dict[ExportFormat, Callable[[Path, Iterator[Record], ExportReport], None]] = {
        "parquet": _write_parquet,
        "webdataset": partial(_write_webdataset, n_shard=shard_pictures),
        "huggingface": partial(_write_huggingface, n_shard=shard_pictures),
        "fork": partial(_write_fork, limits=known_limits(catalog)),
    }
    report = ExportReport()
    with new_folder(out) as folder, progress(f"exporting to {out.name}", count_usable(catalog)) as advance:

        def counted() -> Iterator[Record]:
            for record in read_records(catalog, drop_duplicates=drop_duplicates):
                yield record
                advance()

        writers[form](folder, counted(), report)
    return report


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder that takes the name `out` only when the block ends well.

    Raises:
        InputError: `out` has something in it, or cannot be made.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is there already", "Choose a new folder, or remove it first.")
    draft = out.with_name(f".{out.name}.part")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        yield draft
        if out.exists():
            out.rmdir()
        draft.rename(out)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error}", "Check space and permissions.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def with_bytes(records: Iterable[Record], report: ExportReport) -> Iterator[tuple[Record, bytes]]:
    """Records with their pictures; what is gone or no longer what was catalogued is counted and left out."""
    for record in records:
        try:
            data = fetch(record.uri)
        except OSError:
            report.failures["missing"] += 1
            continue
        if sha256_of(data) != record.sha256:
            report.failures["changed since it was catalogued"] += 1
            continue
        report.n_written += 1
        yield record, data


_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("sha256", pa.string()),
        ("width_px", pa.int32()),
        ("height_px", pa.int32()),
        ("text", pa.string()),
        ("source", pa.string()),
        ("confidence", pa.float32()),
        ("safebox", pa.list_(pa.float64())),
        ("px_scale", pa.list_(pa.float64())),
        ("captions", pa.list_(pa.string())),
    ]
)


def _write_parquet(folder: Path, records: Iterator[Record], report: ExportReport) -> None:
    """One table without pictures: keys and what is known."""
    with pq.ParquetWriter(folder / "catalog.parquet", _SCHEMA, compression="zstd") as writer:
        while rows := [record.facts() for record in islice(records, 10_000)]:
            writer.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA))
            report.n_written += len(rows)
        if not report.n_written:
            writer.write_table(_SCHEMA.empty_table())


def _write_webdataset(folder: Path, records: Iterator[Record], report: ExportReport, n_shard: int) -> None:
    """Shards NNNNNN.tar of NNNNNNNNN.png|jpg|…, .txt and .json; numbers, so that no name can go astray."""
    samples = with_bytes(records, report)
    number = 0
    for shard in _counter():
        chunk = list(islice(samples, n_shard))
        if not chunk:
            return
        with tarfile.open(folder / f"{shard:06d}.tar", "w", format=tarfile.PAX_FORMAT) as tar:
            for record, data in chunk:
                facts = json.dumps(record.facts(), ensure_ascii=False).encode("utf-8")
                _add(tar, f"{number:09d}.{record.extension}", data)
                _add(tar, f"{number:09d}.json", facts)
                _add(tar, f"{number:09d}.txt", record.text.encode("utf-8"))
                number += 1


def _counter() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _write_huggingface(folder: Path, records: Iterator[Record], report: ExportReport, n_shard: int) -> None:
    """Parquet shards that `load_dataset(folder)` opens with an Image column."""
    image = pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    features = {f.name: _feature(f.type) for f in _SCHEMA} | {"image": {"_type": "Image"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    schema = pa.schema([image, *_SCHEMA], metadata=metadata)
    (folder / "data").mkdir()
    samples = with_bytes(records, report)
    for shard in _counter():
        rows = [
            {"image": {"bytes": data, "path": record.key}, **record.facts()}
            for record, data in islice(samples, n_shard)
        ]
        if not rows:
            return
        path = folder / "data" / f"train-{shard:05d}.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="zstd")


def _feature(kind: pa.DataType) -> dict[str, Any]:
    """How `datasets` writes a type in its metadata."""
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    return {"dtype": {"double": "float64", "float": "float32"}.get(str(kind), str(kind)), "_type": "Value"}


def _write_fork(folder: Path, records: Iterator[Record], report: ExportReport, limits: Limits) -> None:
    """The fork's folder: pictures with .txt beside them, sidecars as one object keyed by stem.

    Names are keys with "/" made "_", so that stems are unlikely to meet; those that do get a number. The
    fork knows neither EXIF orientation nor alpha nor WEBP: such pictures are written anew as PNG, as
    `decode` sees them.
    """
    pictures = folder / "images"
    pictures.mkdir()
    taken: set[str] = set()
    sidecars: dict[str, dict[str, Any]] = {"safeboxes.jsonl": {}, "px_scales.jsonl": {}, "capts.json": {}}
    for record, data in with_bytes(records, report):
        stem = _free_stem(record.key, taken)
        extension = record.extension
        if extension not in ("jpg", "jpeg", "png", "gif") or not is_plain(data, limits):
            extension, data = "png", _as_png(data, limits)
        (pictures / f"{stem}.{extension}").write_bytes(data)
        (pictures / f"{stem}.txt").write_text(record.text, encoding="utf-8", newline="\n")
        for name, value in zip(sidecars, (record.safebox, record.px_scale, record.captions), strict=True):
            if value:
                sidecars[name][stem] = value
    for name, values in sidecars.items():
        (folder / name).write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")


def _free_stem(key: str, taken: set[str]) -> str:
    stem = _fitting(stem_of(key.replace("/", "_")))
    free, number = stem, 1
    while free in taken:
        number += 1
        free = f"{stem}_{number}"
    taken.add(free)
    return free


def _fitting(stem: str) -> str:
    """The end of a name that a file system would refuse: what tells pictures apart stands there."""
    return stem.encode("utf-8")[-_MAX_STEM_BYTES:].decode("utf-8", "ignore")


def _as_png(data: bytes, limits: Limits) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(decode(data, limits)).save(buffer, "PNG")
    return buffer.getvalue()
