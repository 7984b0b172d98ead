"""kill -9 at random moments of a sweep: what was kept stays, and the end is that of the unbroken sweep.

    python tests/eval/soak_sweep.py --kills 120 --spread-kills 20 --ray-kills 5

The process that makes and keeps pictures is killed until the sweep is complete, half the times at any moment
after a picture was kept, half at any moment at all, which may be while it starts; then the same of a sweep
spread over two processes, and over two actors of a Ray that the keeper starts. It is the keeper that is
killed: workers must end by themselves. After each kill the store must open and no picture that was done may
be missing: at most the batches in flight are lost. In the end rows and picture files are those of a sweep
nobody killed.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from eval_fakes import SlowPart, SlowWriter, right, small_suite

from eval.run import Plan, make_pictures, write_plan
from eval.run.workers import make_spread
from eval.store import Store, open_store
from eval.suites import cells_of
from eval.sweep import make_setting
from eval.sweep.job import Spread

if TYPE_CHECKING:
    from eval.run.plans import SweepPart

ROWS = "SELECT setting_id, prompt_id, seed, status, sha256 FROM samples ORDER BY ALL"
BATCH = 3
MAKING_S = 0.3  # about as long as a sweep goes on after its first picture


@dataclass(frozen=True)
class Moment:
    """When to kill: so many seconds after the start, or after the first picture that this try keeps."""

    after_s: float
    from_first_kept: bool = False


def main(
    kills: Annotated[int, typer.Option(help="How many of a sweep in one process.")] = 120,
    spread_kills: Annotated[int, typer.Option(help="How many of a sweep over two processes.")] = 20,
    ray_kills: Annotated[int, typer.Option(help="How many of a sweep over two actors of Ray.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
) -> None:
    """Print what was counted; an invariant that does not hold is an AssertionError."""
    runs = {"one process": kills, "two processes": spread_kills, "Ray, two actors": ray_kills}
    spreads = {
        "two processes": Spread(workers=2, devices=["cpu"] * 2),
        "Ray, two actors": Spread(workers=2, devices=["cpu"] * 2, runner="ray"),
    }
    with tempfile.TemporaryDirectory() as folder:
        counts = {
            name: soak(Path(folder) / name, n_kills, spreads.get(name), random.Random(seed))
            for name, n_kills in runs.items()
            if n_kills
        }
    print("| what | " + " | ".join(counts) + " |\n" + "|---" * (1 + len(counts)) + "|")
    for what in sorted(set().union(*counts.values())):
        print(f"| {what} | " + " | ".join(str(found[what]) for found in counts.values()) + " |")


def soak(folder: Path, kills: int, spread: Spread | None, dice: random.Random) -> Counter[str]:
    """Kill so often, over as many sweeps as that takes."""
    folder.mkdir()
    seen, whole = Counter[str](), folder / "whole.duckdb"
    begun = time.monotonic()
    assert killed_or_done(whole, None, spread)
    whole_s = time.monotonic() - begun
    while seen["kills"] < kills:
        broken = folder / f"broken-{seen['sweeps equal to the unbroken one']}.duckdb"

        def moment() -> Moment | None:
            if seen["kills"] >= kills:
                return None
            if dice.random() < 0.5:
                return Moment(dice.uniform(0, MAKING_S), from_first_kept=True)
            return Moment(dice.uniform(0, whole_s))

        one_sweep(whole, broken, moment, spread, seen)
    return seen


def one_sweep(
    whole: Path,
    broken: Path,
    moment: Callable[[], Moment | None],
    spread: Spread | None,
    seen: Counter[str],
) -> None:
    """Kill a sweep until one try is quicker; then compare with the unbroken one."""
    n_done = 0
    while not killed_or_done(broken, moment(), spread):
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


def killed_or_done(path: Path, moment: Moment | None, spread: Spread | None) -> bool:
    """Run the sweep in a process forked from this one, which has imported everything; whether it ended."""
    hears_kept, says_kept = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setpgid(0, 0)
            os.close(hears_kept)
            sweep(path, spread, says_kept)
            status = 0
        finally:
            os._exit(status)
    os.close(says_kept)
    if moment is not None:
        if moment.from_first_kept:
            os.read(hears_kept, 1)  # nothing, where the child ends first
        time.sleep(moment.after_s)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(hears_kept)
    assert status in (0, signal.SIGKILL), f"the sweep failed by itself: {status}"
    wait_for_workers(child, 120 if spread is not None and spread.runner == "ray" else 20)
    return status == 0


def wait_for_workers(group: int, limit_s: float) -> None:
    """Workers of a keeper that is gone end by themselves; Ray's own agents take a minute to notice."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    raise AssertionError("a worker outlived its sweep")


def sweep(path: Path, spread: Spread | None, says_kept: int) -> None:
    """Make and keep 30 pictures of two settings, and say so of every batch that is kept."""
    suite = small_suite(15)
    settings = [make_setting({"number": i}, str(i)) for i in range(2)]
    plan = Plan(suite, cells_of(suite), settings, run_id="r")
    with open_store(path, "write") as store:
        write_plan(store, plan)
        write = store.write

        def write_and_say(table: str, rows: Sequence[Mapping[str, Any]]) -> None:
            write(table, rows)
            with suppress(BrokenPipeError):
                os.write(says_kept, b"." * len(rows))

        store.write = write_and_say  # type: ignore[method-assign]
        if spread is None:
            make_pictures(store, plan, SlowWriter(right, BATCH))
        else:
            make_spread(store, [cast("SweepPart", SlowPart(plan))], BATCH, spread)


def count_done(store: Store) -> int:
    """Pictures that stand as done; each must be whole."""
    found = store.rows("SELECT sha256 FROM samples WHERE status = 'done'")
    assert all(store.has_picture(sha256) for (sha256,) in found), "a row without its picture"
    return len(found)


if __name__ == "__main__":
    # Ray's workers find what is made up for tests, and the package, where this process does.
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, (Path(__file__).parent, Path(__file__).parents[2])))
    typer.run(main)
