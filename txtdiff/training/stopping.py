"""A wish to stop, heard between steps: weights half updated must not become a checkpoint."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from datatools.console import messages

__all__ = ["stop_on_signal"]


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Gives a function that says whether Ctrl-C or SIGTERM came; a second one interrupts at once."""
    wished = False

    def note(signum: int, frame: FrameType | None) -> None:
        nonlocal wished
        if wished:
            raise KeyboardInterrupt
        wished = True
        messages.print("stopping after this step, several processes after a few; once more to stop at once")

    before = {which: signal.signal(which, note) for which in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: wished
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
