"""kill -9 at random moments of build-catalog: what was acknowledged stays, nothing is there twice.

    python tests/datatools/soak_kills.py --kills 200

Half of the kills come after an acknowledged commit, half at any moment from the start of the process on.
After each the catalog must open and hold every acknowledged row, at most one batch more, and no row twice. In
the end the build goes on, and the whole content must be that of a build that nobody killed.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from small_reader import draw
from test_build import build, content, rows, start_slow_build

from datatools.catalog import open_catalog
from datatools.check import check_catalog

N_PICTURES = 80
BATCH = 2  # what start_slow_build commits at a time


def main(
    kills: Annotated[int, typer.Option(help="How many.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
) -> None:
    """Print what was counted; an invariant that does not hold is an AssertionError."""
    dice, seen = random.Random(seed), Counter[str]()
    while seen["kills"] < kills:
        with tempfile.TemporaryDirectory() as folder:
            one_catalog(Path(folder), kills, dice, seen)
    print("| what | n |\n|---|---|")
    for what, n in seen.items():
        print(f"| {what} | {n} |")


def one_catalog(folder: Path, kills: int, dice: random.Random, seen: Counter[str]) -> None:
    """Kill builds of one catalog until one is quicker; then compare with an unbroken build."""
    source, catalog, unbroken = folder / "in", folder / "c.duckdb", folder / "unbroken.duckdb"
    for number in range(N_PICTURES):
        draw(source / f"{number:03d}.png", f"word{number}")
    build(source, unbroken)
    while seen["kills"] < kills and kill_once(source, catalog, dice, seen):
        pass
    build(source, catalog)
    assert content(catalog) == content(unbroken), "content differs"
    with open_catalog(catalog) as opened:
        assert list(check_catalog(opened)) == []
    seen["catalogs equal to an unbroken build"] += 1


def kill_once(source: Path, catalog: Path, dice: random.Random, seen: Counter[str]) -> bool:
    """Start or go on, and kill; False when the build was quicker."""
    before = count(catalog)
    process = start_slow_build(source, catalog)
    assert process.stdout is not None
    if dice.random() < 0.5:
        first = [process.stdout.readline()]
        time.sleep(dice.expovariate(1 / 0.15))
    else:
        first = []
        time.sleep(dice.uniform(0, 6))
    process.kill()
    lines = [*first, *process.stdout]
    acknowledged = sum(int(line.split()[1]) for line in lines if line.startswith("acked"))
    if process.wait() != -9:
        return False
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
