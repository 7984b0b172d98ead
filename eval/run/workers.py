"""A sweep spread over processes, GPUs or a Ray cluster: workers make pictures, one process keeps them.

The mechanism is that of catalog builds (`datatools.runner`): a worker that dies loses the batch in its hands,
which is tried again picture by picture. Workers never open the store.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from datatools.console import progress
from datatools.decode import Cause
from datatools.runner import LocalRunner, Runner
from datatools.worker.reading import Usage
from eval.generators import Generator, Made
from eval.run.pictures import keep_pictures, pending_cells, tell_failures
from eval.store import Store
from eval.suites import Cell
from eval.sweep import Setting
from eval.sweep.job import Spread

if TYPE_CHECKING:
    from eval.run.plans import SweepPart  # torch, which workers import with the part they are given

__all__ = ["SweepTask", "SweepWork", "make_spread"]

_PICTURE_LIMIT_S = 3600.0  # a picture of the largest cascade on a slow CPU


@dataclass(frozen=True, slots=True)
class SweepTask:
    """One picture to be made."""

    part: int
    """Which of the sweep's cascades or pipelines makes it."""
    setting: Setting
    cell: Cell


SweepOutcome = tuple[SweepTask, Made]


@dataclass(frozen=True)
class SweepWork:
    """What every worker is given: how to get at each generator."""

    parts: Sequence[SweepPart]
    batch_size: int
    devices: Sequence[str]
    what: ClassVar[str] = "generators"

    def open(self, number: int) -> SweepWorker:
        """The worker of this number; devices are shared out in turn."""
        return SweepWorker(self, self.devices[number % len(self.devices)])

    def failed(self, task: SweepTask, cause: Cause, detail: str) -> SweepOutcome:
        """A picture at which a worker died or ran out of time."""
        return task, Made(task.cell, None, cause, detail=detail)


class SweepWorker:
    """Makes batches of pictures; holds one generator at a time, as it comes to it.

    Raises:
        InputError: the first generator cannot be loaded.
    """

    def __init__(self, work: SweepWork, device: str) -> None:
        self._work, self._device = work, device
        self._loaded = (0, self._generator(0))

    def identities(self) -> list[str]:
        """Where it works."""
        return [self._device]

    def read(self, tasks: tuple[SweepTask, ...]) -> tuple[list[SweepOutcome], Usage]:
        """The pictures of one chunk, all of one setting, sampled together.

        What the generator raises ends this process, since nobody knows what is left of its device; the runner
        tries the pictures one by one in a fresh one.
        """
        start, first = time.perf_counter(), tasks[0]
        if self._loaded[0] != first.part:
            self._loaded = (first.part, self._generator(first.part))
        made = self._loaded[1].make(first.setting, [task.cell for task in tasks])
        spent_s = time.perf_counter() - start
        return list(zip(tasks, made, strict=True)), Usage(spent_s, spent_s)

    def _generator(self, part: int) -> Generator:
        return self._work.parts[part].generator(self._device, self._work.batch_size)


def make_spread(store: Store, parts: Sequence[SweepPart], batch_size: int, spread: Spread) -> None:
    """Make every picture of the plans that is not in the store. Rows are written by this process alone.

    Raises:
        InputError: a generator cannot be loaded in a worker, or Ray cannot be reached.
    """
    chunks = [chunk for i, part in enumerate(parts) for chunk in _chunks(store, i, part, batch_size)]
    if not chunks:
        return
    devices = spread.devices or (_any_device(),)
    n_workers = min(spread.workers or len(devices), len(chunks))
    runner = _runner(SweepWork(parts, batch_size, devices), n_workers, spread)
    told: set[str] = set()
    try:
        with progress("making pictures", sum(map(len, chunks))) as advance:
            for outcomes in runner.run(chunks):
                _keep(store, parts, outcomes)
                setting = outcomes[0][0].setting
                tell_failures(setting, [made for _, made in outcomes], told)
                advance(len(outcomes), setting.label)
    finally:
        runner.stop()


def _any_device() -> str:
    from txtdiff.training.distributed import pick_device  # torch

    return pick_device("auto")


def _runner(work: SweepWork, n_workers: int, spread: Spread) -> Runner[SweepTask, SweepOutcome, str]:
    if spread.runner == "local":
        return LocalRunner(work, n_workers, _PICTURE_LIMIT_S)
    from datatools.runner.ray import RayRunner  # an extra: Ray need not be installed

    n_gpus = int(any(device.startswith("cuda") for device in work.devices))
    return RayRunner(work, n_workers, _PICTURE_LIMIT_S, spread.ray_address, n_gpus)


def _chunks(store: Store, number: int, part: SweepPart, batch_size: int) -> Iterator[tuple[SweepTask, ...]]:
    """The batches that one process would make, in its order: the same pictures are sampled together."""
    for setting in part.plan.settings:
        cells = pending_cells(store, setting, part.plan.cells)
        for start in range(0, len(cells), batch_size):
            yield tuple(SweepTask(number, setting, cell) for cell in cells[start : start + batch_size])


def _keep(store: Store, parts: Sequence[SweepPart], outcomes: Sequence[SweepOutcome]) -> None:
    first = outcomes[0][0]
    keep_pictures(store, first.setting, [made for _, made in outcomes], parts[first.part].plan.run_id)
