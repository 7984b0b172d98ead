"""Pictures of the store are read once per reader; readings are kept raw, before any threshold."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt

from datatools.console import print_causes, progress, say
from datatools.decode import Rejection, decode
from datatools.errors import InputError
from datatools.ocr import REGION_MARGIN, OcrEngine, Polygon, RegionReader, Repeatable, TextLine, make_ready
from eval.identity import canonical_json, identity
from eval.machine.ahead import ahead
from eval.reading.protocol import Mode
from eval.store import Store

__all__ = ["find_picture", "lines_from_json", "load_picture", "read_pictures", "register_reader"]

Picture = npt.NDArray[np.uint8]

_BATCH = 8  # pictures between two commits


@dataclass(frozen=True, slots=True)
class _Task:
    """A picture to be read: the whole of it, or (box mode) these regions of it."""

    sha256: str
    region_id: str
    regions: tuple[Polygon, ...]


def register_reader(store: Store, engine: OcrEngine, mode: Mode = "e2e") -> str:
    """Enter a reader into the store. Its id is the hash of name, version, weights, settings and mode."""
    spec = {
        "name": engine.name,
        "version": engine.version,
        "weights_digest": engine.weights_digest,
        "settings": dict(engine.settings)
        | ({"mode": mode, "region_margin": REGION_MARGIN} if mode == "box" else {}),
    }
    reader_id = identity(spec)
    store.write("readers", [spec | {"reader_id": reader_id, "settings": canonical_json(spec["settings"])}])
    return reader_id


def read_pictures(store: Store, engine: OcrEngine, setting_ids: Sequence[str], mode: Mode = "e2e") -> str:
    """Read every picture of these settings that this reader has no lines of; returns the reader's id.

    One that could not be read counts as worst, and is tried again by the next call: a reader that ran out of
    memory or a disk that was away says nothing about the picture.

    Args:
        mode: box reads the known regions of each picture alone; pictures without any are not read.

    Raises:
        InputError: box mode, and a reader that cannot be told where text stands.
    """
    if mode == "box" and not isinstance(engine, RegionReader):
        raise InputError(f"the reader '{engine.name}' cannot read known regions", "Use --mode e2e with it.")
    reader_id = register_reader(store, engine, mode)
    unread = _unread(store, reader_id, setting_ids, mode)
    causes: Counter[str] = Counter()
    if unread:
        make_ready(engine)
        with progress(f"reading pictures ({engine.name})", len(unread)) as advance:
            for rows in _read_side_by_side(store, engine, reader_id, unread):
                store.write("readings", rows)
                causes.update(row["cause"] for row in rows if row["cause"] is not None)
                advance(len(rows))
    if causes:
        print_causes("pictures that could not be read; run the same command again to try them again", causes)
    return reader_id


def _unread(store: Store, reader_id: str, setting_ids: Sequence[str], mode: Mode) -> list[_Task]:
    rows = store.rows(
        """WITH wanted AS (
               SELECT DISTINCT sha256, if($mode = 'box', region_id, '') AS region_id,
                      if($mode = 'box', regions, NULL) AS regions
               FROM samples WHERE status = 'done' AND setting_id IN (SELECT unnest($settings))
                 AND ($mode = 'e2e' OR regions IS NOT NULL))
           SELECT sha256, region_id, regions FROM wanted ANTI JOIN (
               SELECT sha256, region_id FROM readings WHERE reader_id = $reader AND lines IS NOT NULL)
           USING (sha256, region_id) ORDER BY ALL""",
        {"mode": mode, "settings": list(setting_ids), "reader": reader_id},
    )
    return [
        _Task(sha256, region_id, tuple(tuple((x, y) for x, y in polygon) for polygon in json.loads(regions)))
        if regions
        else _Task(sha256, region_id, ())
        for sha256, region_id, regions in rows
    ]


def load_picture(store: Store, sha256: str) -> Picture:
    """A picture of the store, (H, W, 3) uint8.

    Raises:
        Rejection: the file is gone or is no picture any more.
    """
    try:
        data = store.picture_path(sha256).read_bytes()
    except FileNotFoundError as error:
        raise Rejection("missing", str(error)) from error
    return decode(data)


def find_picture(store: Store, sha256: str) -> Picture | None:
    """A picture of the store, or None where it cannot be had: one that is gone must not cost the others.

    Scores show it: their `n` is below `n_expected` then.
    """
    try:
        return load_picture(store, sha256)
    except Rejection:
        return None


def lines_from_json(text: str | None) -> list[TextLine]:
    """Text lines as they are kept in the store's `readings.lines`."""
    return [
        TextLine(tuple((x, y) for x, y in row["polygon"]), row["text"], row["confidence"])
        for row in json.loads(text or "[]")
    ]


def _read_side_by_side(
    store: Store, engine: OcrEngine, reader_id: str, tasks: Sequence[_Task]
) -> Iterator[list[dict[str, Any]]]:
    """Rows of `readings` batch by batch, in order, by as many readers of one thread as there are cores.

    Threads are enough: decoding and both networks free the interpreter lock. A reader that cannot be repeated
    reads alone; those that can have a thread each and read every picture as one alone would.
    """
    batches = [tasks[start : start + _BATCH] for start in range(0, len(tasks), _BATCH)]
    free: SimpleQueue[OcrEngine] = SimpleQueue()
    free.put(engine)
    if isinstance(engine, Repeatable):
        for _ in range(min(os.cpu_count() or 1, len(batches)) - 1):
            free.put(engine.twin())
    n_readers = free.qsize()

    def read(batch: Sequence[_Task]) -> list[dict[str, Any]]:
        reader = free.get()
        try:
            return _read_batch(store, reader, reader_id, batch)
        finally:
            free.put(reader)

    return ahead(batches, read, n_threads=n_readers, n_ahead=2 * n_readers)


def _read_batch(
    store: Store, engine: OcrEngine, reader_id: str, batch: Sequence[_Task]
) -> list[dict[str, Any]]:
    found: list[tuple[_Task, Picture]] = []
    rows = []
    for task in batch:
        try:
            found.append((task, load_picture(store, task.sha256)))
        except Rejection as error:
            rows.append(_row(task, reader_id, None, error.cause, None))
    start = time.perf_counter()
    readings = _read(engine, found)
    seconds = (time.perf_counter() - start) / max(len(found), 1)
    for (task, _), lines in zip(found, readings, strict=True):
        cause = "reader_error" if lines is None else None
        rows.append(_row(task, reader_id, lines, cause, seconds))
    return rows


def _read(engine: OcrEngine, found: Sequence[tuple[_Task, Picture]]) -> list[list[TextLine] | None]:
    """Lines of each picture; None for one on which the reader itself breaks down, and why on stderr."""
    pictures = [picture for _, picture in found]
    try:
        if isinstance(engine, RegionReader) and any(task.region_id for task, _ in found):
            return list(engine.read_regions(pictures, [task.regions for task, _ in found]))
        return list(engine.read(pictures))
    except Exception as error:  # a reader is foreign code: one picture must not cost the others
        if len(found) <= 1:
            say(f"{engine.name} failed on a picture: {error!r}")
            return [None] * len(found)
        return [lines for one in found for lines in _read(engine, [one])]


def _row(
    task: _Task, reader_id: str, lines: list[TextLine] | None, cause: str | None, seconds: float | None
) -> dict[str, Any]:
    text = None if lines is None else json.dumps([asdict(line) for line in lines], ensure_ascii=False)
    key = {"sha256": task.sha256, "region_id": task.region_id, "reader_id": reader_id}
    return key | {"lines": text, "cause": cause, "seconds": seconds}
