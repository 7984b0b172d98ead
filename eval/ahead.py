"""Prepare pictures in threads while the network works on the ones before."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

__all__ = ["ahead"]

Source = TypeVar("Source")
Loaded = TypeVar("Loaded")


def ahead(sources: Iterable[Source], load: Callable[[Source], Loaded], n_ahead: int) -> Iterator[Loaded]:
    """`load` of each source, in order, up to `n_ahead` of them under way or waiting.

    Threads are enough: decoding and resizing in Pillow free the interpreter lock. A core is left to the
    network.
    """
    n_threads = max(1, min(16, (os.cpu_count() or 2) - 1))
    todo = iter(sources)
    with ThreadPoolExecutor(n_threads, thread_name_prefix="ahead") as pool:
        waiting: deque[Future[Loaded]] = deque(pool.submit(load, s) for s in islice(todo, n_ahead))
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(load, source) for source in islice(todo, 1))
        finally:
            for future in waiting:
                future.cancel()
