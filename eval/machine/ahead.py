"""Work on many things in threads, the results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

__all__ = ["ahead"]

Source = TypeVar("Source")
Made = TypeVar("Made")


def ahead(
    sources: Iterable[Source],
    work: Callable[[Source], Made],
    *,
    n_threads: int,
    n_ahead: int,
    begin: Callable[[], None] | None = None,
) -> Iterator[Made]:
    """`work` on each source, in order, up to `n_ahead` of them under way or waiting to be taken.

    Threads are enough for what frees the interpreter lock: Pillow, torch, onnxruntime.

    Args:
        begin: called in each thread before its first source.
    """
    todo = iter(sources)
    with ThreadPoolExecutor(n_threads, thread_name_prefix="ahead", initializer=begin) as pool:
        waiting: deque[Future[Made]] = deque(pool.submit(work, source) for source in islice(todo, n_ahead))
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(work, source) for source in islice(todo, 1))
        finally:  # on Ctrl-C or a full disk, what was not begun is not begun any more
            for future in waiting:
                future.cancel()
