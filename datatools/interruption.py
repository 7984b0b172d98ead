"""Ctrl-C and DuckDB: what must not be cut in two waits for it, what may be is left with KeyboardInterrupt."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

__all__ = ["hold_interruptions", "interruptible"]


@contextmanager
def hold_interruptions() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the block is through; then whoever handles them is called.

    For writing: DuckDB asks Python for its signals in the middle of a statement, and an exception that is
    raised there comes out as one of many errors, and may leave a transaction aborted. Signals reach only the
    main thread; in others this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    for signum, handler in handlers.items():
        if callable(handler):  # neither left to the system nor ignored
            signal.signal(signum, lambda signum, _frame: came.append(signum))
    try:
        yield
    finally:
        for signum, handler in handlers.items():
            if callable(handler):
                signal.signal(signum, handler)
        if came:
            signal.raise_signal(came[0])


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C is KeyboardInterrupt again: DuckDB makes it another error when it comes inside a query.

    It is a RuntimeError where DuckDB itself looked for signals, an InvalidInputException where it was reading
    an Arrow table through Python.
    """
    try:
        yield
    except (RuntimeError, duckdb.InvalidInputException) as error:
        if not str(error).rstrip().endswith(("Query interrupted", "failed: KeyboardInterrupt:")):
            raise
        raise KeyboardInterrupt from error
