"""What this process may use of the machine, which is often less than the machine has."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["available_cpus", "memory_capped"]

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
_OWN_MEMORY = Path("/proc/self/statm")


def available_cpus() -> int:
    """Processors that this process may keep busy, at least 1.

    Those it may be scheduled on, capped by the CPU quota of its control group and of every group around it
    (Linux, cgroup v2: `cpu.max` holds a quota and a period in microseconds, or "max" for none). A container
    on a large host sees all of the host's cores in `os.cpu_count()`.
    """
    n_cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([n_cpus, *_quotas()]))


def _quotas() -> list[int]:
    """The quotas that bind, in whole processors, rounded up: half a core more is worth a process."""
    found = []
    for folder in _groups():
        try:
            quota, period = (folder / "cpu.max").read_text().split()
            found.append(math.ceil(int(quota) / int(period)))
        except (OSError, ValueError):  # no such file, or "max": nothing is capped here
            continue
    return found


def _groups() -> list[Path]:
    """The folder of our control group and those above it."""
    try:
        lines = _OWN_CGROUP.read_text().splitlines()
    except OSError:  # not Linux
        return []
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    folder = _CGROUPS / own
    return [folder, *(above for above in folder.parents if above.is_relative_to(_CGROUPS))]


@contextmanager
def memory_capped(n_bytes: int) -> Iterator[None]:
    """While it lasts, this process may take so much memory beside what it holds; then comes a MemoryError.

    Address space is what is counted, and by Linux alone: elsewhere nothing is capped. All threads are meant.
    """
    if sys.platform != "linux":
        yield
        return
    import resource  # Windows has none

    before = resource.getrlimit(resource.RLIMIT_AS)
    held_bytes = int(_OWN_MEMORY.read_text().split()[0]) * resource.getpagesize()
    allowed = [limit for limit in (held_bytes + n_bytes, *before) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(allowed), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
