"""Running build-catalog again over files that have not changed: files a second, and memory.

    python benchmarks/unchanged_files.py --n 1000000

The files are hard links to a small picture, the rows those that a build of them leaves (appended: to read a
million pictures takes hours). Measured is the whole second build: a worker starts, scan, comparison,
captions, sidecars. CPU seconds are of the parent, which does all of it; on a busy machine they tell more.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import typer
from catalog_rows import ROWS_AT_ONCE, make_rows
from harness import table

TESTS = Path(__file__).parents[1] / "tests/datatools"
sys.path.insert(0, str(TESTS))

from memory_watch import MemoryWatch  # noqa: E402
from small_reader import OPENER, draw  # noqa: E402

from datatools.build import build_catalog  # noqa: E402
from datatools.catalog import Catalog, open_catalog  # noqa: E402
from datatools.config import BuildSettings  # noqa: E402
from datatools.scan import ImageRef, scan  # noqa: E402

LINKS = 20_000  # of one file: some file systems allow no more than 32,000 or 65,000
PER_FOLDER = 1000
SETTINGS = BuildSettings(ocr=("small",), workers=1)


def main(
    n: Annotated[int, typer.Option(help="Files.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(help="How often the build is run again.")] = 3,
) -> None:
    """Print one row per run."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    rows = []
    with tempfile.TemporaryDirectory() as name:
        source, catalog = Path(name) / "in", Path(name) / "c.duckdb"
        first = draw(source / "first.png", "word")
        build_catalog(source, catalog, SETTINGS, opener=OPENER)
        link_files(first, source, n - 1)
        append_rows(catalog, source)
        for round_ in range(rounds):
            started, used = time.monotonic(), time.process_time()
            with MemoryWatch() as memory:
                report = build_catalog(source, catalog, SETTINGS, opener=OPENER)
            wall_s, cpu_s = time.monotonic() - started, time.process_time() - used
            if (report.n_unchanged, report.n_read, report.n_removed) != (n, 0, 0):
                raise SystemExit(f"something was to be done: {report}")
            rates = f"{n / wall_s:,.0f}", f"{n / cpu_s:,.0f}"
            rows.append([round_ + 1, f"{wall_s:.1f}", f"{cpu_s:.1f}", *rates, memory.peak_mib])
    print(f"n = {n:,} files; targets: >= 50,000 files/s, < 2048 MiB\n")
    print(table(["run", "seconds", "CPU-s", "files/s", "files/CPU-s", "MiB of the parent at most"], rows))


def link_files(original: Path, folder: Path, n: int) -> None:
    """`n` files, a thousand in a folder."""
    data = original.read_bytes()
    for number in range(n):
        place = folder / f"{number // PER_FOLDER:05d}"
        if number % PER_FOLDER == 0:
            place.mkdir()
        if number % LINKS == 0:
            original = place / f"{number:08d}.png"
            original.write_bytes(data)
        else:
            (place / f"{number:08d}.png").hardlink_to(original)


def append_rows(path: Path, source: Path) -> None:
    """Rows of all files but the one that was built."""
    images = [image for image in scan(source).images if image.key != "first.png"]
    with open_catalog(path, "write") as catalog:
        for start in range(0, len(images), ROWS_AT_ONCE):
            append_part(catalog, images[start : start + ROWS_AT_ONCE])


def append_part(catalog: Catalog, images: list[ImageRef]) -> None:
    keys = pa.array([image.key for image in images])
    with catalog.transaction():
        for name, rows in make_rows(0, len(images)).items():
            columns = {column: rows[column] for column in rows.column_names} | {"key": keys}
            if name == "pictures":
                columns["uri"] = pa.array([image.uri for image in images])
                columns["size_bytes"] = pa.array(np.array([image.size_bytes for image in images]))
                columns["mtime_ns"] = pa.array(np.array([image.mtime_ns for image in images]))
            catalog.append(name, pa.table(columns))


if __name__ == "__main__":
    typer.run(main)
