"""How much memory this process and those it started hold, sampled while something runs (Linux)."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self


class MemoryWatch:
    """Samples resident memory in a thread of its own.

    Attributes:
        curve: (seconds since the start, MiB of this process) pairs.
        peak_mib: most that this process held inside the block.
        worker_peak_mib: most that one of its children or their children held.
    """

    def __init__(self, every_s: float = 0.2) -> None:
        self.curve: list[tuple[float, int]] = []
        self.worker_peak_mib = 0
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def peak_mib(self) -> int:
        return max((mib for _, mib in self.curve), default=0)

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self._every_s):
            self.curve.append((time.monotonic() - self._started, _mib(os.getpid(), "VmRSS")))
            peaks = (_mib(pid, "VmHWM") for pid in _descendants(os.getpid()))
            self.worker_peak_mib = max(self.worker_peak_mib, *peaks, 0)


def _descendants(pid: int) -> list[int]:
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children += map(int, task.read_text().split())
        except OSError:  # it has just ended
            continue
    return children + [grandchild for child in children for grandchild in _descendants(child)]


def _mib(pid: int, field: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith(f"{field}:")), 0)
