"""kill -9 at random moments of a sweep: what was kept stays, and the end is that of the unbroken sweep.

    python tests/eval/soak_sweep.py --kills 120

The process that makes and keeps pictures is killed at any moment from its first row on, until the sweep is
complete. After each kill the store must open and no picture that was done may be missing: at most the batch
in flight is lost. In the end rows and picture files are those of a sweep nobody killed.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from eval_fakes import Writer, right, small_suite

from eval.generators import Made
from eval.run import Plan, make_pictures, write_plan
from eval.store import Store, open_store
from eval.suite import Cell, cells_of
from eval.sweep import Setting, make_setting

ROWS = "SELECT setting_id, prompt_id, seed, status, sha256 FROM samples ORDER BY ALL"
BATCH = 3


class Slow(Writer):
    """Takes 20 ms a batch, so that kills come everywhere."""

    def make(self, setting: Setting, cells: Sequence[Cell]) -> Iterator[list[Made]]:
        for batch in super().make(setting, cells):
            time.sleep(0.02)
            yield batch


def main(
    kills: Annotated[int, typer.Option(help="How many.")] = 120,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
) -> None:
    """Print what was counted; an invariant that does not hold is an AssertionError."""
    dice, seen = random.Random(seed), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.duckdb"
        begun = time.monotonic()
        assert killed_or_done(whole, None)
        whole_s = time.monotonic() - begun
        while seen["kills"] < kills:
            broken = Path(folder) / f"broken-{seen['sweeps equal to the unbroken one']}.duckdb"
            one_sweep(
                whole, broken, lambda: dice.uniform(0, whole_s) if seen["kills"] < kills else None, seen
            )
    print("| what | n |\n|---|---|")
    for what, n in sorted(seen.items()):
        print(f"| {what} | {n} |")


def one_sweep(whole: Path, broken: Path, moment: Callable[[], float | None], seen: Counter[str]) -> None:
    """Kill a sweep until one try is quicker; then compare with the unbroken one."""
    n_done = 0
    while not killed_or_done(broken, moment()):
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


def killed_or_done(path: Path, after_s: float | None) -> bool:
    """Run the sweep in a process forked from this one, which has imported everything; whether it ended."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            sweep(path)
            status = 0
        finally:
            os._exit(status)
    if after_s is not None:
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), f"the sweep failed by itself: {status}"
    return status == 0


def sweep(path: Path) -> None:
    """Make and keep 30 pictures of two settings."""
    suite = small_suite(15)
    settings = [make_setting({"number": i}, str(i)) for i in range(2)]
    plan = Plan(suite, cells_of(suite), settings, run_id="r")
    with open_store(path, "write") as store:
        write_plan(store, plan)
        make_pictures(store, plan, Slow(right, BATCH))


def count_done(store: Store) -> int:
    """Pictures that stand as done; each must be whole."""
    found = store.rows("SELECT sha256 FROM samples WHERE status = 'done'")
    assert all(store.has_picture(sha256) for (sha256,) in found), "a row without its picture"
    return len(found)


if __name__ == "__main__":
    typer.run(main)
