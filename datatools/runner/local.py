"""Tasks spread over processes that may die, hang or be killed, without losing a task.

A chunk whose worker dies or runs out of time is tried again picture by picture, in whichever worker is free;
a picture that does it alone is `crashed` or `timeout`. Workers leave interruption to the parent, and end when
the parent is gone.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from datatools.console import say
from datatools.decode import Cause
from datatools.errors import InputError
from datatools.worker.process import Broken, hear, serve
from datatools.worker.reading import Usage

__all__ = [
    "START_LIMIT_S",
    "THREAD_LIMITS",
    "ChunkWorker",
    "LocalRunner",
    "Runner",
    "WorkSetup",
    "chunk_limit_s",
]

START_LIMIT_S = 300.0  # loading weights from a cold disk
THREAD_LIMITS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""One thread per worker: workers are the parallelism, and threads of theirs would fight over the cores."""

TaskT = TypeVar("TaskT")
TaskT_contra = TypeVar("TaskT_contra", contravariant=True)
OutcomeT = TypeVar("OutcomeT")
IdentityT = TypeVar("IdentityT")

_CHUNKS_AHEAD = 2  # one in hand and one waiting: workers do not idle while outcomes are committed


class ChunkWorker(Protocol[TaskT_contra, OutcomeT, IdentityT]):
    """What a worker is, wherever it runs."""

    def identities(self) -> list[IdentityT]:
        """What it has opened."""
        ...

    def read(self, tasks: tuple[TaskT_contra, ...]) -> tuple[list[OutcomeT], Usage]:
        """One outcome per task, in order, and the time since the last answer."""
        ...


class WorkSetup(Protocol[TaskT_contra, OutcomeT, IdentityT]):
    """What every worker is given at its start: the work. It is pickled."""

    what: ClassVar[str]
    """What workers open, in one word, for messages."""

    def open(self, number: int) -> ChunkWorker[TaskT_contra, OutcomeT, IdentityT]:
        """Make a worker; `number` is the lowest that no living worker has.

        Raises:
            InputError: something it needs cannot be opened.
        """
        ...

    def failed(self, task: TaskT_contra, cause: Cause, detail: str) -> OutcomeT:
        """The outcome of a task that came to nothing."""
        ...


class Runner(Protocol[TaskT_contra, OutcomeT, IdentityT]):
    """Whoever spreads tasks over workers."""

    usage: Usage
    """Where the time of all workers went so far."""

    def start(self, n_at_once: int = 1) -> list[IdentityT]: ...

    def run(self, chunks: Iterable[tuple[TaskT_contra, ...]]) -> Iterator[list[OutcomeT]]: ...

    def stop(self) -> None: ...


def chunk_limit_s(chunk: tuple[Any, ...], time_limit_s: float) -> float:
    """Seconds a chunk may take: pictures help each other out, a slow one may use what quick ones leave."""
    return time_limit_s * (1 + (len(chunk) - 1) / 4)


@dataclass(slots=True)
class _Worker(Generic[TaskT]):
    number: int
    process: BaseProcess
    pipe: Connection
    chunks: deque[tuple[TaskT, ...]] = field(default_factory=deque)
    """The one in hand, then those that wait."""
    deadline: float = 0.0
    """When the one in hand should be done."""
    ready: bool = False


class LocalRunner(Generic[TaskT, OutcomeT, IdentityT]):
    """Worker processes on this machine.

    Args:
        setup: what each worker opens.
        n_workers: how many processes.
        time_limit_s: seconds one picture may take.
    """

    def __init__(
        self, setup: WorkSetup[TaskT, OutcomeT, IdentityT], n_workers: int, time_limit_s: float
    ) -> None:
        self._setup = setup
        self._n_workers = n_workers
        self._time_limit_s = time_limit_s
        self.usage = Usage()
        self._workers: list[_Worker[TaskT]] = []
        self._lost: list[str] = []

    def start(self, n_at_once: int = 1) -> list[IdentityT]:
        """Start workers, the others when there is work for them, and say what the first one opened.

        Raises:
            InputError: something cannot be opened; the message says what it lacks.
        """
        for _ in range(min(n_at_once, self._n_workers)):
            self._workers.append(self._spawn())
        first = self._workers[0]
        if not first.pipe.poll(START_LIMIT_S):
            raise InputError(f"the {self._setup.what} did not open within {START_LIMIT_S:g} s")
        answer = self._hear(first)
        if isinstance(answer, Broken):
            raise self._unopened(answer.detail)
        return self._greet(first, answer)

    def run(self, chunks: Iterable[tuple[TaskT, ...]]) -> Iterator[list[OutcomeT]]:
        """Outcomes of all tasks, chunk by chunk, as they are done. The order is not promised."""
        pending = iter(chunks)
        again: deque[tuple[TaskT, ...]] = deque()
        while True:
            self._hand_out(pending, again)
            busy = [worker for worker in self._workers if worker.chunks]
            if not busy:
                return
            patience_s = max(0.0, min(worker.deadline for worker in busy) - time.monotonic())
            ready = set(wait([worker.pipe for worker in busy], timeout=patience_s))
            for worker in busy:
                if worker.pipe in ready:
                    yield from self._collect(worker, again)
                elif time.monotonic() >= worker.deadline and not worker.pipe.poll():
                    # And nothing has come while outcomes were committed, which may take long.
                    late = f"more than {self._time_limit_s if worker.ready else START_LIMIT_S:g} s"
                    yield from self._replace(worker, again, "timeout", late)

    def stop(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.pipe.close()
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
        self._workers.clear()

    def _hand_out(self, pending: Iterator[tuple[TaskT, ...]], again: deque[tuple[TaskT, ...]]) -> None:
        while self._can_spawn() or any(len(worker.chunks) < _CHUNKS_AHEAD for worker in self._workers):
            chunk = again.popleft() if again else next(pending, ())
            if not chunk:
                return
            worker = min(self._workers, key=lambda worker: len(worker.chunks), default=None)
            if worker is None or (worker.chunks and self._can_spawn()):
                worker = self._spawn()
                self._workers.append(worker)
            self._give(worker, chunk)

    def _can_spawn(self) -> bool:
        return len(self._workers) < self._n_workers

    def _give(self, worker: _Worker[TaskT], chunk: tuple[TaskT, ...]) -> None:
        worker.chunks.append(chunk)
        if len(worker.chunks) == 1:
            self._set_clock(worker)
        with suppress(OSError):  # a dead worker is noticed, and replaced, when its answer is awaited
            worker.pipe.send(chunk)

    def _set_clock(self, worker: _Worker[TaskT]) -> None:
        limit_s = chunk_limit_s(worker.chunks[0], self._time_limit_s) if worker.ready else START_LIMIT_S
        worker.deadline = time.monotonic() + limit_s

    def _collect(self, worker: _Worker[TaskT], again: deque[tuple[TaskT, ...]]) -> Iterator[list[OutcomeT]]:
        answer = self._hear(worker)
        if isinstance(answer, Broken):
            yield from self._replace(worker, again, "crashed", answer.detail)
            return
        was_ready = worker.ready
        if was_ready:
            worker.chunks.popleft()
        else:  # its chunks wait in the pipe
            self._greet(worker, answer)
        if worker.chunks:
            self._set_clock(worker)
        if was_ready:
            outcomes, usage = answer
            self.usage.add(usage)
            yield outcomes

    def _hear(self, worker: _Worker[TaskT]) -> Any:
        answer = hear(worker.pipe, worker.process)
        if isinstance(answer, InputError):
            raise answer
        return answer

    def _greet(self, worker: _Worker[TaskT], answer: Any) -> list[IdentityT]:
        worker.ready = True
        self._say_lost()
        identities: list[IdentityT] = answer
        return identities

    def _replace(
        self, worker: _Worker[TaskT], again: deque[tuple[TaskT, ...]], cause: Cause, detail: str
    ) -> Iterator[list[OutcomeT]]:
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()
        self._workers.remove(worker)
        if not worker.ready:  # no picture's fault
            if not self._workers:
                raise self._unopened(detail)
            self._n_workers = len(self._workers)
            self._lost.append(detail)
            self._say_lost()
            again.extend(worker.chunks)
            return
        chunk = worker.chunks.popleft()
        again.extend(worker.chunks)  # these only waited
        if len(chunk) > 1:
            again.extend((task,) for task in chunk)
        else:
            yield [self._setup.failed(chunk[0], cause, detail)]

    def _unopened(self, detail: str) -> InputError:
        return InputError(f"the {self._setup.what} cannot be opened in a worker: {detail}")

    def _say_lost(self) -> None:
        """Name workers that did not open once another did; where none does, one error says it all."""
        if any(worker.ready for worker in self._workers):
            for detail in self._lost:
                died = f"one worker's {self._setup.what} did not open ({detail})"
                say(f"{died}: going on with {self._n_workers} workers")
            self._lost.clear()

    def _spawn(self) -> _Worker[TaskT]:
        taken = {worker.number for worker in self._workers}
        number = next(n for n in range(len(taken) + 1) if n not in taken)
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, pickle.dumps(self._setup), number), daemon=True)
        with _birth():
            process.start()
        theirs.close()
        return _Worker(number, process, ours)


@contextmanager
def _birth() -> Iterator[None]:
    """What a spawned process is born with: one thread, and nothing of the program that called us.

    A worker would otherwise run the caller's main module once more: seconds of imports, or a second build
    where a script has no `if __name__ == "__main__"`.
    """
    main = sys.modules["__main__"]
    names = ("__file__", "__spec__")
    hidden: dict[str, Any] = {name: vars(main).pop(name) for name in names if name in vars(main)}
    main.__spec__ = None
    before = {name: os.environ.get(name) for name in THREAD_LIMITS}
    os.environ.update(THREAD_LIMITS)
    try:
        yield
    finally:
        vars(main).update(hidden)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
