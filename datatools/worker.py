"""What a worker does with a few pictures: fetch, hash, decode, read. It never sees the catalog."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from datatools.decode import Cause, Limits, Rejection, decode
from datatools.fingerprint import perceptual_hash, sha256_of
from datatools.ocr import OcrEngine, TextLine, open_engine
from datatools.scan import ImageRef
from datatools.sources import fetch
from datatools.transcript import reading_order

__all__ = [
    "Outcome",
    "ReaderIdentity",
    "Task",
    "WorkerSetup",
    "failed",
    "identify",
    "open_readers",
    "read_tasks",
]

_PIXELS_AT_ONCE = 16_000_000  # pictures are handed to a reader in groups of about 48 MB


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What every worker is given at its start."""

    engines: tuple[str, ...]
    """Names of the readers."""
    limits: Limits
    opener: str = ""
    """For tests and plug-ins: "module:function" that opens a reader by name in place of open_engine."""


@dataclass(frozen=True, slots=True)
class Task:
    """One picture to be read."""

    image: ImageRef
    state: Literal["new", "changed", "same"]
    """Against the catalog's row: none, of another file, or of this file."""
    engines: tuple[str, ...]
    """Readers that have not read it yet."""
    known: tuple[str, ...] = ()
    """sha256 of catalogued pictures of the same size in bytes, whose readings can be taken over."""
    n_attempts: int = 0
    """How often it failed before."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task."""

    task: Task
    sha256: str | None = None
    phash: int | None = None
    width_px: int | None = None
    height_px: int | None = None
    readings: dict[str, list[TextLine]] = field(default_factory=dict)
    """Lines by reader, in reading order."""
    reused: bool = False
    """True: the same bytes are in the catalog already; take their readings."""
    cause: Cause | None = None
    """Why the picture could not be used; None when it could."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ReaderIdentity:
    """What a reading depends on besides the picture."""

    engine: str
    version: str
    weights_digest: str
    settings: str
    """JSON with sorted keys."""


def failed(task: Task, cause: Cause, detail: str = "") -> Outcome:
    """The outcome of a task that came to nothing."""
    return Outcome(task, cause=cause, detail=detail)


def open_readers(setup: WorkerSetup) -> dict[str, OcrEngine]:
    """The readers of a worker by name."""
    if not setup.opener:
        return {name: open_engine(name) for name in setup.engines}
    module, _, function = setup.opener.partition(":")
    opener = getattr(__import__(module, fromlist=[function]), function)
    return {name: opener(name) for name in setup.engines}


def identify(engine: OcrEngine) -> ReaderIdentity:
    """The identity of a reader as the catalog keeps it."""
    settings = json.dumps(dict(engine.settings), sort_keys=True, ensure_ascii=False)
    return ReaderIdentity(engine.name, engine.version, engine.weights_digest, settings)


def read_tasks(readers: dict[str, OcrEngine], limits: Limits, tasks: Sequence[Task]) -> list[Outcome]:
    """Fetch, decode and read pictures; one outcome per task, in order. Never raises for a picture's sake."""
    outcomes: list[Outcome] = []
    group: list[tuple[Outcome, np.ndarray]] = []
    n_pixels = 0
    for task in tasks:
        outcome, picture = _load(task, limits)
        if picture is None:
            outcomes.append(outcome)
            continue
        group.append((outcome, picture))
        n_pixels += picture.shape[0] * picture.shape[1]
        if n_pixels > _PIXELS_AT_ONCE:
            outcomes += _read_group(readers, group)
            group, n_pixels = [], 0
    outcomes += _read_group(readers, group)
    position = {id(task): i for i, task in enumerate(tasks)}
    return sorted(outcomes, key=lambda outcome: position[id(outcome.task)])


def _load(task: Task, limits: Limits) -> tuple[Outcome, np.ndarray | None]:
    """The picture's facts and its pixels; no pixels when it failed or need not be read."""
    try:
        data = _fetch(task.image.uri, limits.max_bytes)
        digest = sha256_of(data)
        if digest in task.known:
            return Outcome(task, sha256=digest, reused=True), None
        picture = decode(data, limits)
    except Rejection as rejection:
        return failed(task, rejection.cause, rejection.detail), None
    except MemoryError:
        return failed(task, "out_of_memory", "while decoding"), None
    height_px, width_px = picture.shape[:2]
    return Outcome(task, digest, perceptual_hash(picture), width_px, height_px), picture


def _fetch(uri: str, max_bytes: int) -> bytes:
    """A file's bytes, at most one more than the limit: `decode` then names the cause."""
    try:
        return fetch(uri, max_bytes + 1)
    except FileNotFoundError as error:
        raise Rejection("missing", str(error)) from error
    except Exception as error:  # every remote store has exceptions of its own
        raise Rejection("unreadable", f"{type(error).__name__}: {error}") from error


def _read_group(readers: dict[str, OcrEngine], group: list[tuple[Outcome, np.ndarray]]) -> list[Outcome]:
    outcomes = [outcome for outcome, _ in group]
    for name, engine in readers.items():
        wanted = [i for i, o in enumerate(outcomes) if o.cause is None and name in o.task.engines]
        for i, found in zip(wanted, _read(engine, [group[i][1] for i in wanted]), strict=True):
            if isinstance(found, Exception):
                outcomes[i] = _reader_failed(outcomes[i], name, found)
            else:
                lines = [line for row in reading_order(found) for line in row]
                outcomes[i] = replace(outcomes[i], readings=outcomes[i].readings | {name: lines})
    return outcomes


def _reader_failed(outcome: Outcome, name: str, error: Exception) -> Outcome:
    cause: Cause = "out_of_memory" if isinstance(error, MemoryError) else "reader_error"
    detail = f"{name}: {type(error).__name__}: {error}"[:200]
    return replace(outcome, cause=cause, detail=detail, readings={})


def _read(engine: OcrEngine, pictures: list[np.ndarray]) -> list[list[TextLine] | Exception]:
    """Lines per picture. When a batch fails, each picture is tried alone, so that one cannot spoil others."""
    if not pictures:
        return []
    try:
        return list(engine.read(pictures))
    except Exception as error:  # a reader is foreign code: whatever it raises belongs to the picture
        if len(pictures) == 1:
            return [error]
    return [found for picture in pictures for found in _read(engine, [picture])]
