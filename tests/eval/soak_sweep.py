"""kill -9 at random moments of a sweep: what was kept stays, and the end is that of the unbroken sweep.

    python tests/eval/soak_sweep.py --kills 120 --spread-kills 20

The process that makes and keeps pictures is killed at any moment from its first row on, until the sweep is
complete; then the same of a sweep spread over two processes, whose keeper is killed: its workers must end by
themselves. After each kill the store must open and no picture that was done may be missing: at most the
batches in flight are lost. In the end rows and picture files are those of a sweep nobody killed.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, cast

import typer
from eval_fakes import SlowPart, SlowWriter, right, small_suite

from eval.run import Plan, make_pictures, write_plan
from eval.store import Store, open_store
from eval.suite import cells_of
from eval.sweep import make_setting
from eval.sweep_job import Spread
from eval.sweep_plans import SweepPart
from eval.sweep_workers import make_spread

ROWS = "SELECT setting_id, prompt_id, seed, status, sha256 FROM samples ORDER BY ALL"
BATCH = 3


def main(
    kills: Annotated[int, typer.Option(help="How many of a sweep in one process.")] = 120,
    spread_kills: Annotated[int, typer.Option(help="How many of a sweep over two processes.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
) -> None:
    """Print what was counted; an invariant that does not hold is an AssertionError."""
    rows = ["| what | in one process | over two |", "|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        counts = [
            soak(Path(folder) / f"{n_workers}", n_kills, n_workers, random.Random(seed))
            for n_workers, n_kills in ((1, kills), (2, spread_kills))
        ]
    rows += [f"| {what} | {counts[0][what]} | {counts[1][what]} |" for what in sorted(counts[0] | counts[1])]
    print("\n".join(rows))


def soak(folder: Path, kills: int, n_workers: int, dice: random.Random) -> Counter[str]:
    """Kill so often, over as many sweeps as that takes."""
    folder.mkdir()
    seen, whole = Counter[str](), folder / "whole.duckdb"
    if not kills:
        return seen
    begun = time.monotonic()
    assert killed_or_done(whole, None, n_workers)
    whole_s = time.monotonic() - begun
    while seen["kills"] < kills:
        broken = folder / f"broken-{seen['sweeps equal to the unbroken one']}.duckdb"

        def moment() -> float | None:
            return dice.uniform(0, whole_s) if seen["kills"] < kills else None

        one_sweep(whole, broken, moment, n_workers, seen)
    return seen


def one_sweep(
    whole: Path, broken: Path, moment: Callable[[], float | None], n_workers: int, seen: Counter[str]
) -> None:
    """Kill a sweep until one try is quicker; then compare with the unbroken one."""
    n_done = 0
    while not killed_or_done(broken, moment(), n_workers):
        seen["kills"] += 1
        if not broken.exists():
            continue
        with open_store(broken, "write") as store:
            now_done = count_done(store)
        assert now_done >= n_done, "a picture that was kept is gone"
        seen["kills after something was kept"] += now_done > n_done
        n_done = now_done
    with open_store(whole) as one, open_store(broken) as other:
        rows = one.rows(ROWS)
        assert other.rows(ROWS) == rows, "rows differ"
        for *_, sha256 in rows:
            assert other.has_picture(sha256), "a picture is missing or damaged"
    seen["sweeps equal to the unbroken one"] += 1


def killed_or_done(path: Path, after_s: float | None, n_workers: int) -> bool:
    """Run the sweep in a process forked from this one, which has imported everything; whether it ended."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setpgid(0, 0)
            sweep(path, n_workers)
            status = 0
        finally:
            os._exit(status)
    if after_s is not None:
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), f"the sweep failed by itself: {status}"
    wait_for_workers(child)
    return status == 0


def wait_for_workers(group: int) -> None:
    """Workers of a keeper that is gone end by themselves, and soon."""
    for _ in range(1000):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    raise AssertionError("a worker outlived its sweep")


def sweep(path: Path, n_workers: int) -> None:
    """Make and keep 30 pictures of two settings."""
    suite = small_suite(15)
    settings = [make_setting({"number": i}, str(i)) for i in range(2)]
    plan = Plan(suite, cells_of(suite), settings, run_id="r")
    with open_store(path, "write") as store:
        write_plan(store, plan)
        if n_workers == 1:
            make_pictures(store, plan, SlowWriter(right, BATCH))
        else:
            part = cast(SweepPart, SlowPart(plan))
            make_spread(store, [part], BATCH, Spread(workers=n_workers, devices=["cpu"] * n_workers))


def count_done(store: Store) -> int:
    """Pictures that stand as done; each must be whole."""
    found = store.rows("SELECT sha256 FROM samples WHERE status = 'done'")
    assert all(store.has_picture(sha256) for (sha256,) in found), "a row without its picture"
    return len(found)


if __name__ == "__main__":
    typer.run(main)
