"""The same work as LocalRunner on a Ray cluster: actors in place of processes, the same function inside."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic

from datatools.decode import Cause
from datatools.errors import InputError, in_words
from datatools.runner.local import (
    START_LIMIT_S,
    THREAD_LIMITS,
    IdentityT,
    OutcomeT,
    TaskT,
    WorkSetup,
    chunk_limit_s,
)
from datatools.worker.reading import Usage

__all__ = ["RayRunner"]


class _Actor:
    """The life of a worker, as an actor."""

    def open(self, setup: WorkSetup[Any, Any, Any], number: int) -> list[Any] | InputError:
        try:
            self._worker = setup.open(number)
        except InputError as error:
            return InputError(error.what, error.remedy)
        return self._worker.identities()

    def read(self, chunk: tuple[Any, ...]) -> tuple[list[Any], Usage]:
        return self._worker.read(chunk)


@dataclass(slots=True)
class _Work(Generic[TaskT]):
    """A chunk in the hands of an actor."""

    actor: Any
    chunk: tuple[TaskT, ...]
    deadline: float


class RayRunner(Generic[TaskT, OutcomeT, IdentityT]):
    """Actors on a cluster that is there, or on one that Ray starts on this machine.

    Pictures must be reachable under the same paths or URLs from every node, and the package installed there.

    Args:
        setup: what each actor opens.
        n_workers: how many actors, one CPU each.
        time_limit_s: seconds one picture may take.
        address: of the cluster, as `ray.init` takes it; None: Ray on this machine alone.
        n_gpus: GPUs of each actor.
    """

    def __init__(
        self,
        setup: WorkSetup[TaskT, OutcomeT, IdentityT],
        n_workers: int,
        time_limit_s: float,
        address: str | None,
        n_gpus: int = 0,
    ) -> None:
        self._setup = setup
        self._n_workers = n_workers
        self._time_limit_s = time_limit_s
        self.usage = Usage()
        self._n_gpus = n_gpus
        self._n_opened = 0
        self._ray = _connect(address, n_workers)
        self._idle: list[Any] = []
        self._busy: dict[Any, _Work[TaskT]] = {}

    def start(self, n_at_once: int = 1) -> list[IdentityT]:
        """Open the readers in so many actors side by side and say which they are.

        Raises:
            InputError: a reader cannot be opened on the cluster.
        """
        return self._open(min(n_at_once, self._n_workers))

    def run(self, chunks: Iterable[tuple[TaskT, ...]]) -> Iterator[list[OutcomeT]]:
        """Outcomes of all tasks, chunk by chunk, as they are done. The order is not promised."""
        pending, again = iter(chunks), deque[tuple[TaskT, ...]]()
        while True:
            self._hand_out(pending, again)
            if not self._busy:
                return
            patience_s = max(0.0, min(work.deadline for work in self._busy.values()) - time.monotonic())
            done, _ = self._ray.wait(list(self._busy), timeout=patience_s)
            for ref in done:
                yield from self._collect(ref, again)
            # What is done is collected next, however late: committing outcomes may have taken long.
            done, _ = self._ray.wait(list(self._busy), num_returns=len(self._busy), timeout=0)
            late = [ref for ref, work in self._busy.items() if time.monotonic() >= work.deadline]
            for ref in set(late) - set(done):
                work = self._busy.pop(ref)
                self._ray.kill(work.actor)
                yield from self._give_up(work, again, "timeout", f"more than {self._time_limit_s:g} s")

    def stop(self) -> None:
        """End all actors; a cluster that was there stays."""
        for actor in (*self._idle, *(work.actor for work in self._busy.values())):
            self._ray.kill(actor)
        self._idle, self._busy = [], {}
        self._ray.shutdown()

    def _open(self, n: int) -> list[IdentityT]:
        """Add `n` actors to the idle ones; what the first of them opened."""
        actors = [self._ray.remote(num_cpus=1, num_gpus=self._n_gpus)(_Actor).remote() for _ in range(n)]
        opening = [actor.open.remote(self._setup, self._n_opened + i) for i, actor in enumerate(actors)]
        try:
            answers = self._ray.get(opening, timeout=START_LIMIT_S)
        except self._ray.exceptions.RayError as error:
            cause = in_words(getattr(error, "cause", None) or error)
            raise InputError(f"the {self._setup.what} cannot be opened on the cluster: {cause}") from error
        refused = next((answer for answer in answers if isinstance(answer, InputError)), None)
        if refused is not None:
            raise refused
        self._idle += actors
        self._n_opened += n
        identities: list[IdentityT] = answers[0]
        return identities

    def _hand_out(self, pending: Iterator[tuple[TaskT, ...]], again: deque[tuple[TaskT, ...]]) -> None:
        while len(self._busy) < self._n_workers:
            chunk = again.popleft() if again else next(pending, ())
            if not chunk:
                return
            if not self._idle:
                self._open(1)
            actor = self._idle.pop()
            deadline = time.monotonic() + chunk_limit_s(chunk, self._time_limit_s)
            self._busy[actor.read.remote(chunk)] = _Work(actor, chunk, deadline)

    def _collect(self, ref: Any, again: deque[tuple[TaskT, ...]]) -> Iterator[list[OutcomeT]]:
        work = self._busy.pop(ref)
        try:
            outcomes, usage = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            self._ray.kill(work.actor)  # whoever raised may live on, and would keep its CPU
            cause = getattr(error, "cause", None)
            if isinstance(cause, InputError):
                raise InputError(cause.what, cause.remedy) from error
            yield from self._give_up(work, again, "crashed", in_words(cause or error))
            return
        self._idle.append(work.actor)
        self.usage.add(usage)
        yield outcomes

    def _give_up(
        self, work: _Work[TaskT], again: deque[tuple[TaskT, ...]], cause: Cause, detail: str
    ) -> Iterator[list[OutcomeT]]:
        """As LocalRunner does: pictures of a lost chunk are tried alone, then the culprit is named."""
        if len(work.chunk) > 1:
            again.extend((task,) for task in work.chunk)
        else:
            yield [self._setup.failed(work.chunk[0], cause, detail)]


def _connect(address: str | None, n_workers: int) -> Any:
    try:
        import ray
    except ImportError as error:
        raise InputError("--runner ray needs Ray", "pip install 'txtdiff[ray]'") from error
    cpus: dict[str, Any] = {} if address else {"num_cpus": n_workers, "include_dashboard": False}
    try:
        ray.init(
            address,
            runtime_env={"env_vars": THREAD_LIMITS},
            log_to_driver=False,
            logging_level=logging.ERROR,
            **cpus,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(f"Ray at {address or 'this machine'} cannot be reached: {error}") from error
    return ray
