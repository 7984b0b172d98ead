"""Ctrl-C and DuckDB: what must not be cut in two waits for it, what may be is left with KeyboardInterrupt."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import duckdb

__all__ = ["hold_interruptions", "interruptible"]


@contextmanager
def hold_interruptions() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the block is through; then whoever handles them is called, once for each.

    For writing: DuckDB asks Python for its signals in the middle of a statement, and an exception that is
    raised there comes out as one of many errors, and may leave a transaction aborted. What is held should be
    short: a write that hangs ends by kill -9 alone. Signals reach only the main thread; in others this does
    nothing, nor does it to a signal that is ignored or left to the system.
    """
    came: list[int] = []
    with ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            stack.callback(_deliver, came)  # called last, when the handlers are back
            for signum in (signal.SIGINT, signal.SIGTERM):
                handler = signal.getsignal(signum)
                if callable(handler):
                    stack.callback(signal.signal, signum, handler)
                    signal.signal(signum, lambda signum, _frame: came.append(signum))
        yield


def _deliver(signals: Iterable[int]) -> None:
    for signum in signals:
        signal.raise_signal(signum)


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
