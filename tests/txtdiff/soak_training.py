"""What training promises about kills and stops, very often: kill -9 while saving, runs stopped at random.

    python tests/txtdiff/soak_training.py --kills 1000 --stops 100

Not collected by pytest, which runs short forms (tests/faults). Kills: a process saves checkpoints without end
and is killed at a random moment; the newest valid checkpoint must be one it had acknowledged or a later one,
every other must be whole, and a start must leave nothing half written. Stops: a tiny run is stopped after a
random number of steps, with 0, 1 and 2 workers, once or several times; everything it leaves must be that of
the run never stopped, byte for byte.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from tiny import tiny_catalog, tiny_config

from datatools.console import messages
from txtdiff.training.checkpoint import (
    list_checkpoints,
    newest_checkpoint,
    remove_old_checkpoints,
    sweep,
    verify_checkpoint,
    write_checkpoint,
)
from txtdiff.training.trainer import train

FORK = multiprocessing.get_context("fork")  # the child needs no new start of Python and torch
LONGEST_WAIT_S = 0.08


def main() -> None:
    """Print a table of what was done; stop with an error at the first promise not kept."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--stops", type=int, default=100)
    parser.add_argument(
        "--workers", type=int, action="append", help="data workers of the stopped runs; 0, 1, 2"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    messages.quiet = True
    dice = random.Random(arguments.seed)
    print("| what | n | kept |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        if arguments.kills:
            seen = soak_kills(Path(name) / "kills", arguments.kills, dice)
            print(f"| kill -9 while saving | {arguments.kills} | {dict(sorted(seen.items()))} |", flush=True)
        for workers in (arguments.workers or (0, 1, 2)) if arguments.stops else ():
            n_stops = soak_stops(Path(name) / f"workers-{workers}", arguments.stops, workers, dice)
            what = f"runs stopped at random, {workers} workers"
            print(f"| {what} | {arguments.stops} ({n_stops} stops) | all bytes equal |", flush=True)


def save_forever(run: Path, acknowledge: Connection) -> None:
    """Save, tell, remove old ones; never ends."""
    for images in range(1, 10**9):
        files = {"a.safetensors": {"w": torch.full((500_000,), float(images))}, "c.json": str(images)}
        path = write_checkpoint(run, images, files)
        acknowledge.send(images)
        remove_old_checkpoints(path, 3)


def soak_kills(folder: Path, n_kills: int, dice: random.Random) -> Counter[str]:
    """Kill savers; count what was found afterwards."""
    seen: Counter[str] = Counter()
    for n in range(n_kills):
        run = folder / str(n)
        here, there = FORK.Pipe(duplex=False)
        process = FORK.Process(target=save_forever, args=(run, there))
        process.start()
        there.close()
        last = here.recv()  # the first is on disk: the kill comes while others are written or removed
        time.sleep(dice.uniform(0, LONGEST_WAIT_S))
        process.kill()
        process.join()
        with suppress(EOFError):
            while True:
                last = here.recv()
        here.close()
        check_run(run, last, seen)
        for path in list_checkpoints(run):
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
    return seen


def check_run(run: Path, acknowledged: int, seen: Counter[str]) -> None:
    """The promises after one kill."""
    newest = newest_checkpoint(run)
    assert newest is not None, f"{run}: no checkpoint can be read"
    images = int(newest.name.removeprefix("step-"))
    assert images >= acknowledged, f"{run}: {acknowledged} was acknowledged, {images} is the newest"
    assert (newest / "c.json").read_text() == str(images)
    for path in list_checkpoints(run):
        verify_checkpoint(path)
    seen["newest valid"] += 1
    seen["had half-written leftovers"] += bool(list(run.glob(".*")))
    seen["newer than acknowledged"] += images > acknowledged
    sweep(run)
    assert not list(run.glob(".*")), f"{run}: leftovers after a start"


def soak_stops(folder: Path, n_runs: int, workers: int, dice: random.Random) -> int:
    """Stop runs at random and let them go on; returns how often a run was stopped."""
    folder.mkdir()
    settings = ["run.images=48", "averaging.lengths=0.1", "averaging.snapshot_every_images=20"]
    config = tiny_config(tiny_catalog(folder), *settings, f"data.workers={workers}")
    train(config, folder / "unbroken")
    expected = files_of(folder / "unbroken")
    n_stops = 0
    for n in range(n_runs):
        out = folder / str(n)
        while train(config, out, stop_after(dice.randint(1, 12))).kind == "stopped":
            n_stops += 1
        found = files_of(out)
        assert found.keys() == expected.keys(), (found.keys(), expected.keys())
        different = [name for name in expected if found[name] != expected[name]]
        assert not different, f"{out}: {different} differ from the unbroken run"
    return n_stops


def files_of(run: Path) -> dict[str, bytes]:
    """What must be equal: the last checkpoint (weights, averages, optimiser, state), the log, the copies."""
    paths = [*(run / "step-48").iterdir(), run / "metrics.jsonl", *(run / "profiles").iterdir()]
    return {str(path.relative_to(run)): path.read_bytes() for path in paths}


def stop_after(n_steps: int) -> Callable[[], bool]:
    """Asked after each step; true from the n-th on."""
    left = iter(range(n_steps - 1))
    return lambda: next(left, None) is None


if __name__ == "__main__":
    main()
