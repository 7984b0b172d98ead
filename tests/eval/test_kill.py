"""kill -9 during a sweep: only the batch in flight is lost, and the result is that of an unbroken sweep."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eval.store import open_store

SWEEP = """
import sys, time
from pathlib import Path
from eval_fakes import Writer, right, small_suite
from eval.run import Plan, make_pictures, write_plan
from eval.store import open_store
from eval.suites.suite import cells_of
from eval.sweep import make_setting

class Slow(Writer):
    def make(self, setting, cells):
        time.sleep(0.08)
        return super().make(setting, cells)

suite = small_suite(15)
settings = [make_setting({"number": i}, str(i)) for i in range(2)]
plan = Plan(suite, cells_of(suite), settings, run_id="r")
with open_store(Path(sys.argv[1]), "write") as store:
    write_plan(store, plan)
    print("ready", flush=True)
    make_pictures(store, plan, Slow(right))
print("done", flush=True)
"""

ROWS = "SELECT setting_id, prompt_id, seed, status, sha256 FROM samples ORDER BY ALL"


@pytest.mark.slow
def test_a_sweep_killed_again_and_again_ends_as_the_unbroken_one(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole.duckdb", tmp_path / "broken.duckdb"
    assert sweep(whole, kill_after_s=None)
    rng = random.Random(0)
    n_kills, n_done = 0, 0
    while not sweep(broken, kill_after_s=rng.uniform(0.05, 0.3)):
        n_kills += 1
        with open_store(broken) as store:
            [(now_done,)] = store.rows("SELECT count(*) FROM samples WHERE status = 'done'")
            assert now_done >= n_done, "a picture that was kept is gone"
            n_done = now_done
        assert n_kills < 60
    assert n_kills >= 2
    with open_store(whole) as one, open_store(broken) as other:
        assert one.rows(ROWS) == other.rows(ROWS)
        for *_, sha256 in other.rows(ROWS):
            assert other.picture_path(sha256).read_bytes() == one.picture_path(sha256).read_bytes()
    leftovers = [path for path in broken.with_suffix(".pictures").rglob("*") if path.name.endswith(".tmp")]
    assert len(leftovers) <= n_kills


def sweep(path: Path, kill_after_s: float | None) -> bool:
    """Run the sweep in a process of its own; whether it came to its end."""
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    command = [sys.executable, "-c", SWEEP, str(path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            child.send_signal(signal.SIGKILL)
        return "done" in child.communicate(timeout=120)[0]
