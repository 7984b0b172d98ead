"""The work of a build in this process: for tests that are not about processes, which cost a second each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from datatools.worker.reading import ChunkReader, Outcome, ReaderIdentity, Task, Usage, WorkerSetup


class InlineRunner:
    """What LocalRunner does, without workers that could die or hang."""

    def __init__(self, setup: WorkerSetup, n_workers: int, time_limit_s: float) -> None:
        self._reader = ChunkReader(setup)
        self.usage = Usage()

    def start(self, n_at_once: int = 1) -> list[ReaderIdentity]:
        return self._reader.identities()

    def run(self, chunks: Iterable[tuple[Task, ...]]) -> Iterator[list[Outcome]]:
        for chunk in chunks:
            outcomes, _ = self._reader.read(chunk)
            yield outcomes

    def stop(self) -> None:
        pass
