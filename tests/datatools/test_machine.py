"""How many processors and how much memory we may use."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from datatools.config import BuildSettings
from datatools.worker import machine


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [("max 100000", None, 8), ("250000 100000", "max 100000", 3), ("max 100000", "50000 100000", 1)],
)
def test_quotas_of_all_groups_around_us_count(
    inner: str, outer: str | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "groups/pod/box").mkdir(parents=True)
    (tmp_path / "groups/pod/box/cpu.max").write_text(f"{inner}\n")
    if outer is not None:
        (tmp_path / "groups/pod/cpu.max").write_text(f"{outer}\n")
    (tmp_path / "own").write_text("4:memory:/elsewhere\n0::/pod/box\n")
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(machine, "_OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert machine.available_cpus() == expected


def test_a_process_bound_to_one_core_starts_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert machine.available_cpus() == 1
    assert BuildSettings().workers == 1


@pytest.mark.skipif(sys.platform != "linux", reason="no other system caps memory")
def test_memory_is_capped_for_a_while() -> None:
    with machine.memory_capped(2**28):
        assert len(np.ones(2**27, np.uint8))
        with pytest.raises(MemoryError):
            np.ones(2**29, np.uint8)
    assert len(np.ones(2**29, np.uint8))
