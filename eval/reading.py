"""Pictures of the store are read once per reader; readings are kept raw, before any threshold."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from datatools.console import messages, plain, print_causes, progress
from datatools.decode import Rejection, decode
from datatools.ocr import OcrEngine, TextLine
from eval.identity import canonical_json, identity
from eval.store import Store

__all__ = ["find_picture", "lines_from_json", "load_picture", "read_pictures", "register_reader"]

Picture = npt.NDArray[np.uint8]

_BATCH = 16


def register_reader(store: Store, engine: OcrEngine) -> str:
    """Enter a reader into the store. Its id is the hash of name, version, weights and settings."""
    spec = {
        "name": engine.name,
        "version": engine.version,
        "weights_digest": engine.weights_digest,
        "settings": dict(engine.settings),
    }
    reader_id = identity(spec)
    store.write("readers", [spec | {"reader_id": reader_id, "settings": canonical_json(spec["settings"])}])
    return reader_id


def read_pictures(store: Store, engine: OcrEngine, setting_ids: Sequence[str]) -> str:
    """Read every picture of these settings that this reader has no lines of; returns the reader's id.

    One that could not be read counts as worst, and is tried again by the next call: a reader that ran out of
    memory or a disk that was away says nothing about the picture.
    """
    reader_id = register_reader(store, engine)
    unread = store.rows(
        """SELECT DISTINCT sha256 FROM samples
           WHERE status = 'done' AND setting_id IN (SELECT unnest(?)) AND sha256 NOT IN
               (SELECT sha256 FROM readings WHERE reader_id = ? AND lines IS NOT NULL) ORDER BY sha256""",
        [list(setting_ids), reader_id],
    )
    causes: Counter[str] = Counter()
    if unread:
        with progress(f"reading pictures ({engine.name})", len(unread)) as advance:
            for start in range(0, len(unread), _BATCH):
                batch = [sha256 for (sha256,) in unread[start : start + _BATCH]]
                rows = _read_batch(store, engine, reader_id, batch)
                store.write("readings", rows)
                causes.update(row["cause"] for row in rows if row["cause"] is not None)
                advance(len(batch))
    if causes:
        print_causes("pictures that could not be read; run the same command again to try them again", causes)
    return reader_id


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


def _read_batch(store: Store, engine: OcrEngine, reader_id: str, batch: list[str]) -> list[dict[str, Any]]:
    pictures, rows = {}, []
    for sha256 in batch:
        try:
            pictures[sha256] = load_picture(store, sha256)
        except Rejection as error:
            rows.append(_row(sha256, reader_id, None, error.cause, None))
    start = time.perf_counter()
    readings = _read(engine, list(pictures.values()))
    seconds = (time.perf_counter() - start) / max(len(pictures), 1)
    for sha256, lines in zip(pictures, readings, strict=True):
        cause = "reader_error" if lines is None else None
        rows.append(_row(sha256, reader_id, lines, cause, seconds))
    return rows


def _read(engine: OcrEngine, pictures: list[Picture]) -> list[list[TextLine] | None]:
    """Lines of each picture; None for one on which the reader itself breaks down, and why on stderr."""
    try:
        return list(engine.read(pictures))
    except Exception as error:  # a reader is foreign code: one picture must not cost the others
        if len(pictures) <= 1:
            messages.print(plain(f"{engine.name} failed on a picture: {error!r}"), markup=False)
            return [None] * len(pictures)
        return [lines for picture in pictures for lines in _read(engine, [picture])]


def _row(
    sha256: str, reader_id: str, lines: list[TextLine] | None, cause: str | None, seconds: float | None
) -> dict[str, Any]:
    text = None if lines is None else json.dumps([asdict(line) for line in lines], ensure_ascii=False)
    return {"sha256": sha256, "reader_id": reader_id, "lines": text, "cause": cause, "seconds": seconds}
