"""Memory and time of a whole build of very many pictures, and of running it again with nothing changed.

    python tests/datatools/soak_memory.py --n 1000000

All files are hard links to a few small pictures, and the reader is a trivial one: measured is what grows with
the number of files, scanning, planning, tasks, commits, sidecars.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Annotated, Literal

import typer
from memory_watch import MemoryWatch
from small_reader import OPENER, draw

from datatools.build import BuildReport, build_catalog
from datatools.config import BuildSettings

LINKS = 20_000  # of one file; some file systems allow no more than 32,000 or 65,000
PER_FOLDER = 1000


def main(n: Annotated[int, typer.Option(help="Pictures.")] = 1_000_000) -> None:
    """Print memory at each tenth of the build, and the rate of the second run."""
    measure(n, "local")


def measure(n: int, runner: Literal["local", "ray"]) -> None:
    """Build twice with workers that run there, and print what it took."""
    # Workers elsewhere find the trivial reader by this variable.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    settings = BuildSettings(
        ocr=("small",), workers=2, runner=runner, chunk_pictures=256, commit_pictures=16_384
    )
    with tempfile.TemporaryDirectory() as name:
        source, catalog = Path(name) / "in", Path(name) / "c.duckdb"
        link_pictures(source, n)
        with MemoryWatch() as first:
            built = timed(source, catalog, settings)
        with MemoryWatch() as second:
            again = timed(source, catalog, settings)
        size_bytes = catalog.stat().st_size
    assert (built[0].n_read, built[0].failures) == (n, {})
    assert (again[0].n_unchanged, again[0].n_read) == (n, 0)
    print(f"n = {n:,}, runner {runner}, 2 workers; catalog {size_bytes / 2**20:.0f} MiB\n")
    columns = (
        "run",
        "seconds",
        "CPU-s of the parent",
        "files/s",
        "files/CPU-s",
        "parent MiB",
        "a worker MiB",
    )
    print("| " + " | ".join([*columns, "target"]) + " |")
    print("|" + "---|" * 8)
    for what, (_, wall_s, cpu_s), watch, target in (
        ("build", built, first, "< 2048 MiB, flat"),
        ("run again, nothing changed", again, second, ">= 50,000 files/s"),
    ):
        rates = f"{n / wall_s:,.0f} | {n / cpu_s:,.0f} | {watch.peak_mib} | {watch.worker_peak_mib}"
        print(f"| {what} | {wall_s:.1f} | {cpu_s:.1f} | {rates} | {target} |")
    tenths = [first.curve[i * (len(first.curve) - 1) // 10] for i in range(11)] if first.curve else []
    print("\nMiB of the parent at each tenth of the build: " + ", ".join(str(mib) for _, mib in tenths))


def link_pictures(folder: Path, n: int) -> None:
    """`n` files of a hundred different contents at most, a thousand in a folder."""
    contents = draw(folder.parent / "word.png", "word"), draw(folder.parent / "two.png", "two\nlines")
    for number in range(n):
        place = folder / f"{number // PER_FOLDER:05d}"
        if number % PER_FOLDER == 0:
            place.mkdir(parents=True)
        original = folder.parent / f"original-{number // LINKS:05d}.png"
        if number % LINKS == 0:
            original.write_bytes(contents[number // LINKS % 2].read_bytes())
        (place / f"{number:08d}.png").hardlink_to(original)


def timed(source: Path, catalog: Path, settings: BuildSettings) -> tuple[BuildReport, float, float]:
    """A build, its seconds, and the CPU seconds of this process."""
    started, used = time.monotonic(), time.process_time()
    report = build_catalog(source, catalog, settings, opener=OPENER)
    return report, time.monotonic() - started, time.process_time() - used


if __name__ == "__main__":
    typer.run(main)
