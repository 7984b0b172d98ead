"""What a worker does with a few pictures: fetch, hash, decode, read. It never sees the catalog."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import numpy as np

from datatools.decode import Cause, Limits, Rejection, decode
from datatools.files.sources import fetch
from datatools.fingerprint import perceptual_hash, sha256_of
from datatools.ocr import OcrEngine, TextLine, open_engine
from datatools.px_scale import ESTIMATOR, estimate_px_scale
from datatools.scan import ImageRef
from datatools.shrink import Stored, shrink, shrunk_size_px
from datatools.transcript import reading_order
from datatools.worker.machine import memory_capped

__all__ = [
    "ChunkReader",
    "Outcome",
    "ReaderIdentity",
    "Task",
    "Usage",
    "WorkerSetup",
    "failed",
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
    max_edge_px: int | None = None
    """Pictures with a longer edge are shrunk to it; None: they stay as they are."""
    estimate_px_scale: bool = False
    """Estimate the px scale of pictures that are not shrunk."""
    memory_limit_bytes: int = 2 * 2**30
    """What fetching and decoding a picture may take."""
    what: ClassVar[str] = "readers"

    def open(self, number: int) -> ChunkReader:
        """The readers of one worker; all workers have the same."""
        return ChunkReader(self)

    def failed(self, task: Task, cause: Cause, detail: str) -> Outcome:
        """The outcome of a task that came to nothing."""
        return Outcome(task, cause=cause, detail=detail)


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
    stored_uri: str | None = None
    """Its shrunk copy, where there is one: that is what is read."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task."""

    task: Task
    sha256: str | None = None
    phash: int | None = None
    width_px: int | None = None
    height_px: int | None = None
    source_width_px: int | None = None
    source_height_px: int | None = None
    shrunk: tuple[bytes, str] | None = None
    """A smaller copy on its way into the store, and its extension."""
    stored: Stored | None = None
    """The copy in the store."""
    px_estimator: str | None = None
    """Who has tried to estimate the px scale."""
    px_scale: tuple[float, float] | None = None
    """The estimate; None where it would be a guess."""
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


@dataclass(slots=True)
class Usage:
    """Where the time of workers went."""

    read_s: float = 0.0
    """Seconds inside the readers."""
    awake_s: float = 0.0
    """Seconds from first to last picture: reading, fetching and decoding, and waiting for work."""

    def add(self, other: Usage) -> None:
        """Sum over workers and chunks."""
        self.read_s += other.read_s
        self.awake_s += other.awake_s

    @property
    def reading_share(self) -> float | None:
        """The part of their time that workers spent inside the readers, 0 to 1; None before any answer."""
        return self.read_s / self.awake_s if self.awake_s else None


class ChunkReader:
    """What a worker is, wherever it runs: open readers, and a count of where their time goes.

    Raises:
        InputError: a reader cannot be opened.
    """

    def __init__(self, setup: WorkerSetup) -> None:
        self._setup = setup
        self._readers = {name: _Timed(engine) for name, engine in _open_readers(setup).items()}
        self._counted_at: float | None = None

    def identities(self) -> list[ReaderIdentity]:
        """Which readers these are."""
        return [_identify(timed.engine) for timed in self._readers.values()]

    def read(self, tasks: Sequence[Task]) -> tuple[list[Outcome], Usage]:
        """One outcome per task, in order, and the time since the last answer. Never raises for a picture."""
        before = self._counted_at or time.perf_counter()
        outcomes = _read_tasks(self._readers, self._setup, tasks)
        self._counted_at = time.perf_counter()
        read_s = sum(timed.take_s() for timed in self._readers.values())
        return outcomes, Usage(read_s, self._counted_at - before)


class _Timed:
    """A reader and the seconds spent in it."""

    def __init__(self, engine: OcrEngine) -> None:
        self.engine = engine
        self._spent_s = 0.0

    def read(self, pictures: list[np.ndarray]) -> list[list[TextLine]]:
        started = time.perf_counter()
        try:
            return self.engine.read(pictures)
        finally:
            self._spent_s += time.perf_counter() - started

    def take_s(self) -> float:
        """The seconds since this was last asked."""
        spent_s, self._spent_s = self._spent_s, 0.0
        return spent_s


def failed(task: Task, cause: Cause, detail: str = "") -> Outcome:
    """The outcome of a task that came to nothing."""
    return Outcome(task, cause=cause, detail=detail)


def _open_readers(setup: WorkerSetup) -> dict[str, OcrEngine]:
    if not setup.opener:
        return {name: open_engine(name) for name in setup.engines}
    module, _, function = setup.opener.partition(":")
    opener = getattr(__import__(module, fromlist=[function]), function)
    return {name: opener(name) for name in setup.engines}


def _identify(engine: OcrEngine) -> ReaderIdentity:
    settings = json.dumps(dict(engine.settings), sort_keys=True, ensure_ascii=False)
    return ReaderIdentity(engine.name, engine.version, engine.weights_digest, settings)


def _read_tasks(readers: dict[str, _Timed], setup: WorkerSetup, tasks: Sequence[Task]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    group: list[tuple[Outcome, np.ndarray]] = []
    n_pixels = 0
    for task in tasks:
        outcome, picture = _load(task, setup)
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


def _load(task: Task, setup: WorkerSetup) -> tuple[Outcome, np.ndarray | None]:
    """The picture's facts and its pixels; no pixels when it failed or need not be read."""
    try:
        with memory_capped(setup.memory_limit_bytes):
            return _fetch_and_look(task, setup)
    except Rejection as rejection:
        return failed(task, rejection.cause, rejection.detail), None
    except MemoryError:
        return failed(task, "out_of_memory", "while decoding"), None


def _fetch_and_look(task: Task, setup: WorkerSetup) -> tuple[Outcome, np.ndarray | None]:
    if task.stored_uri is not None:
        picture = decode(_fetch(task.stored_uri, setup.limits.max_bytes), setup.limits)
        return Outcome(task), picture  # the catalog knows its facts
    data = _fetch(task.image.uri, setup.limits.max_bytes)
    digest = sha256_of(data)
    if digest in task.known:
        return Outcome(task, sha256=digest, reused=True), None
    return _look(Outcome(task, digest), data, setup)


def _look(outcome: Outcome, data: bytes, setup: WorkerSetup) -> tuple[Outcome, np.ndarray]:
    """Decode a picture, shrink it if that is asked for, and note what there is to know of it."""
    picture = decode(data, setup.limits)
    height_px, width_px = picture.shape[:2]
    outcome = replace(outcome, source_width_px=width_px, source_height_px=height_px)
    max_edge_px = setup.max_edge_px or max(width_px, height_px)
    size_px = shrunk_size_px((width_px, height_px), max_edge_px, setup.limits.min_edge_px)
    if size_px != (width_px, height_px):
        copy = shrink(picture, data, size_px)
        # Read as everybody will see it: after the losses of its own compression.
        picture = decode(copy[0], setup.limits)
        outcome = replace(outcome, shrunk=copy)
    elif setup.estimate_px_scale:
        outcome = replace(outcome, px_estimator=ESTIMATOR, px_scale=estimate_px_scale(picture))
    outcome = replace(outcome, phash=perceptual_hash(picture), width_px=size_px[0], height_px=size_px[1])
    return outcome, picture


def _fetch(uri: str, max_bytes: int) -> bytes:
    """A file's bytes, at most one more than the limit: `decode` then names the cause."""
    try:
        return fetch(uri, max_bytes + 1)
    except FileNotFoundError as error:
        raise Rejection("missing", str(error)) from error
    except Exception as error:  # every remote store has exceptions of its own
        raise Rejection("unreadable", f"{type(error).__name__}: {error}") from error


def _read_group(readers: dict[str, _Timed], group: list[tuple[Outcome, np.ndarray]]) -> list[Outcome]:
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


def _read(engine: _Timed, pictures: list[np.ndarray]) -> list[list[TextLine] | Exception]:
    """Lines per picture. When a batch fails, each picture is tried alone, so that one cannot spoil others."""
    if not pictures:
        return []
    try:
        return [*engine.read(pictures)]
    except Exception as error:  # a reader is foreign code: whatever it raises belongs to the picture
        if len(pictures) == 1:
            return [error]
    return [found for picture in pictures for found in _read(engine, [picture])]
