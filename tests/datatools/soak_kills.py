"""kill -9 at random moments of build-catalog: what was acknowledged stays, nothing is there twice.

    python tests/datatools/soak_kills.py --kills 200

Three in four come after an acknowledged commit, the others at any moment from the start of a build on. After
each the catalog must open and hold every acknowledged row, at most one batch more, no row twice. In the end
the build goes on, and the whole content must be that of a build that nobody killed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from small_reader import draw
from test_build import OPENER, build, content, rows

from datatools.catalog import open_catalog
from datatools.check import check_catalog

BATCH = 2  # pictures in a commit

MOTHER = f"""
import ctypes, json, multiprocessing, os, sys
from pathlib import Path
from datatools import build, ocr
from datatools.runner import local
from datatools.config import BuildSettings
from datatools.bookkeeping.record import Recorder
commit = Recorder.commit
def acked(self, outcomes):
    commit(self, outcomes)
    print("acked", len(outcomes), flush=True)
Recorder.commit = acked
forking, serve = multiprocessing.get_context("fork"), local.serve
def serve_until_parent_ends(*given):
    ctypes.CDLL(None).prctl(1, 9)  # it has the parent's end of the pipe too, and would never see it close
    serve(*given)
local.serve, multiprocessing.get_context = serve_until_parent_ends, lambda _: forking
settings = BuildSettings(ocr=("small",), workers=1, chunk_pictures={BATCH}, commit_pictures={BATCH})
for line in sys.stdin:
    source, catalog = map(Path, json.loads(line))
    pid = os.fork()
    if pid == 0:
        build.build_catalog(source, catalog, settings, opener={OPENER!r})
        os._exit(0)
    print("started", pid, flush=True)
    print("ended", os.waitpid(pid, 0)[1], flush=True)
"""
"""Builds in processes of their own that say "acked" after each commit. They and their workers are forked from
one that has imported everything and opened nothing: starting Python 400 times is not what is tested."""


def main(
    kills: Annotated[int, typer.Option(help="How many.")] = 200,
    pictures: Annotated[int, typer.Option(help="In each source.")] = 80,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
) -> None:
    """Print what was counted; an invariant that does not hold is an AssertionError."""
    dice, seen = random.Random(seed), Counter[str]()
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path.cwd())])
    mother = subprocess.Popen(
        [sys.executable, "-c", MOTHER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"SMALL_READER_SLEEP_S": "0.02", "PYTHONPATH": paths},
    )
    with suppress(KeyboardInterrupt):  # what was counted until then is shown
        while seen["kills"] < kills:
            with tempfile.TemporaryDirectory() as folder:
                draw_pictures(Path(folder) / "in", pictures)
                one_catalog(Path(folder), kills, mother, dice, seen)
    mother.kill()
    print("| what | n |\n|---|---|")
    for what, n in seen.items():
        print(f"| {what} | {n} |")


def draw_pictures(source: Path, n: int) -> None:
    """Pictures whose text the small reader knows."""
    for number in range(n):
        draw(source / f"{number:03d}.png", f"word{number}")


def one_catalog(
    folder: Path, kills: int, mother: subprocess.Popen[str], dice: random.Random, seen: Counter[str]
) -> None:
    """Kill builds of one catalog until one is quicker; then compare with an unbroken build."""
    source, catalog, unbroken = folder / "in", folder / "c.duckdb", folder / "unbroken.duckdb"
    build(source, unbroken)
    while seen["kills"] < kills and kill_once(source, catalog, mother, dice, seen):
        pass
    build(source, catalog)
    assert content(catalog) == content(unbroken), "content differs"
    with open_catalog(catalog) as opened:
        assert list(check_catalog(opened)) == []
    seen["catalogs equal to an unbroken build"] += 1


def kill_once(
    source: Path, catalog: Path, mother: subprocess.Popen[str], dice: random.Random, seen: Counter[str]
) -> bool:
    """Start or go on, and kill; False when the build was quicker."""
    assert mother.stdin is not None
    assert mother.stdout is not None
    before = count(catalog)
    mother.stdin.write(json.dumps([str(source), str(catalog)]) + "\n")
    mother.stdin.flush()
    pid = int(mother.stdout.readline().removeprefix("started "))
    lines = []
    if dice.random() < 0.75:
        lines.append(mother.stdout.readline())
        time.sleep(dice.expovariate(1 / 0.15))
    else:
        time.sleep(dice.uniform(0, 3))
    if not (lines and lines[0].startswith("ended")):
        with suppress(ProcessLookupError):  # it was quicker
            os.kill(pid, signal.SIGKILL)
        while not (lines and lines[-1].startswith("ended")):
            lines.append(mother.stdout.readline())
    if lines[-1] != f"ended {signal.SIGKILL.value}\n":
        assert lines[-1] == "ended 0\n", f"the build failed by itself: {lines[-1]}"
        return False
    acknowledged = sum(int(line.split()[1]) for line in lines if line.startswith("acked"))
    kept = count(catalog)
    assert before + acknowledged <= kept <= before + acknowledged + BATCH, (before, acknowledged, kept)
    seen["kills"] += 1
    seen["of them after an acknowledged commit"] += bool(acknowledged)
    seen["rows acknowledged, all kept"] += acknowledged
    seen["rows of a batch in hand that were kept too"] += kept - before - acknowledged
    return True


def count(catalog: Path) -> int:
    """Rows in the catalog, which must open; no key may be there twice."""
    if not catalog.exists():
        return 0
    [(n, n_keys)] = rows(catalog, "SELECT count(*), count(DISTINCT key) FROM transcriptions")
    assert n == n_keys, "a row is there twice"
    return int(str(n))


if __name__ == "__main__":
    typer.run(main)
