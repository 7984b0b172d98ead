"""A wish to stop, heard between steps: weights half updated must not become a checkpoint."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from datatools.console import messages
from txtdiff.training.launch import n_launched

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
        alone = (n_launched() or 1) == 1
        when = "after this step" if alone else "once all processes agree, within a few steps"
        messages.print(f"stopping {when}; once more to stop at once")

    before = {which: signal.signal(which, note) for which in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: wished
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
