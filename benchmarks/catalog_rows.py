"""A million pictures in a catalog: loading their rows, finding a substring, the size of the file.

    python benchmarks/catalog_rows.py --n 1000000

Rows of pictures, readings (two lines each) and transcriptions, made before the clock starts, are appended as
a build appends them, through Arrow in transactions, and the file is closed. The query is what a user types:
`SELECT key FROM transcriptions WHERE text LIKE '%...%'` in a catalog that was just opened.
"""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import typer
from harness import table

from datatools.catalog import open_catalog, query_catalog

ROWS_AT_ONCE = 122_880  # a row group of DuckDB: it is then written once, not first to the log
N_QUERIES = 5
SYLLABLES = (
    "ba",
    "co",
    "di",
    "fu",
    "gra",
    "hel",
    "in",
    "jo",
    "ka",
    "lum",
    "mor",
    "net",
    "ol",
    "pri",
    "qua",
    "ster",
)


def main(n: Annotated[int, typer.Option(help="Pictures.")] = 1_000_000) -> None:
    """Print one row per figure."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "catalog.duckdb"
        open_catalog(path, "write").close()
        wall_s, cpu_s = load(path, n)
        used = time.process_time()
        query_s = [query(path, f"{SYLLABLES[i]}{SYLLABLES[i + 1]}") for i in range(N_QUERIES)]
        query_cpu_s = (time.process_time() - used) / N_QUERIES
        size_bytes = path.stat().st_size
    median_s = statistics.median(query_s)
    rows = [
        [f"load {n:,} pictures", f"{wall_s:.1f} s, {cpu_s:.1f} CPU-s", "<= 10 s"],
        [
            f"find a substring (n = {N_QUERIES})",
            f"{median_s:.2f} s ({min(query_s):.2f}-{max(query_s):.2f}), {query_cpu_s:.2f} CPU-s",
            "<= 0.3 s",
        ],
        ["size of the file", f"{size_bytes / 2**20:.0f} MiB, {size_bytes / n:.0f} bytes a picture", "stated"],
    ]
    print(table(["what", "measured", "target"], rows))


def load(path: Path, n: int) -> tuple[float, float]:
    """Seconds and CPU seconds that appending and closing take."""
    wall_s = cpu_s = 0.0
    catalog = open_catalog(path, "write")
    for first in range(0, n, ROWS_AT_ONCE):
        tables = make_rows(first, min(ROWS_AT_ONCE, n - first))
        started, used = time.perf_counter(), time.process_time()
        with catalog.transaction():
            for name, rows in tables.items():
                catalog.append(name, rows)
        wall_s, cpu_s = wall_s + time.perf_counter() - started, cpu_s + time.process_time() - used
    started, used = time.perf_counter(), time.process_time()
    catalog.close()
    return wall_s + time.perf_counter() - started, cpu_s + time.process_time() - used


def query(path: Path, substring: str) -> float:
    """Seconds from a closed catalog to the keys found."""
    started = time.perf_counter()
    found = query_catalog(path, f"SELECT key FROM transcriptions WHERE text LIKE '%{substring}%'")
    spent_s = time.perf_counter() - started
    if not found.num_rows:
        raise SystemExit(f"nothing holds {substring!r}: the query measures nothing")
    return spent_s


def make_rows(first: int, n: int) -> dict[str, pa.Table]:
    """The rows of `n` pictures by stored table."""
    dice = np.random.default_rng(first)
    keys = pa.array([f"{i // 1000:04d}/picture-{i:07d}.jpg" for i in range(first, first + n)])
    words = np.array(SYLLABLES)[dice.integers(0, len(SYLLABLES), (2 * n, 4))]
    lines = ["".join(row) for row in words]
    return {
        "pictures": _pictures(keys, dice),
        "readings": pa.table(
            {"key": keys, "reader": [1] * n, "build": [1] * n, "lines": _lines(lines, dice)}
        ),
        "spoken": _spoken(keys, lines, dice),
    }


def _pictures(keys: pa.Array, dice: np.random.Generator) -> pa.Table:
    n = len(keys)
    names = keys.to_pylist()
    return pa.table(
        {
            "key": keys,
            "uri": [f"/data/pictures/{name}" for name in names],
            "size_bytes": dice.integers(10_000, 200_000, n),
            "mtime_ns": dice.integers(1_700_000_000, 1_760_000_000, n) * 10**9,
            "sha256": [hashlib.sha256(name.encode()).hexdigest() for name in names],
            "phash": dice.integers(0, 2**63, n).astype(np.uint64),
            "width_px": dice.integers(64, 1024, n),
            "height_px": dice.integers(64, 1024, n),
            "status": ["ok"] * n,
            "n_attempts": [0] * n,
            "build": [1] * n,
        }
    )


def _lines(texts: list[str], dice: np.random.Generator) -> pa.Array:
    """Two lines a picture, as the readings hold them."""
    polygons = dice.integers(0, 512, 8 * len(texts)).astype(np.float32)
    struct = pa.StructArray.from_arrays(
        [
            pa.FixedSizeListArray.from_arrays(pa.array(polygons), 8),
            pa.array(texts),
            pa.array(dice.random(len(texts), np.float32)),
        ],
        ["polygon", "text", "confidence"],
    )
    return pa.ListArray.from_arrays(np.arange(0, len(texts) + 1, 2, dtype=np.int32), struct)


def _spoken(keys: pa.Array, lines: list[str], dice: np.random.Generator) -> pa.Table:
    n = len(keys)
    texts = [f"{first}\n{second}" for first, second in zip(lines[::2], lines[1::2], strict=True)]
    sides = {side: dice.integers(0, 512, n).astype(np.float64) for side in ("left", "top", "right", "bottom")}
    facts = {
        "key": keys,
        "text": texts,
        "source": ["rapidocr"] * n,
        "n_lines": [2] * n,
        "n_chars": [len(t) for t in texts],
    }
    return pa.table(facts | {"confidence": dice.random(n, np.float32)} | sides)


if __name__ == "__main__":
    typer.run(main)
