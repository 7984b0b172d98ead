"""Time of scoring stored readings again under another normaliser. Nothing is generated and nothing is read.

    python benchmarks/rescore.py --rows 100000

The store holds the suite `full`, as many settings as the rows ask for, and readings in which letters are
wrong, missing or in another case as often as an average model has them. Each normaliser is timed as a
process would meet it: nothing of the texts is in a cache.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import eval.text_metrics.counts
import eval.text_metrics.normalisers
from datatools.ocr import TextLine
from eval.reading.protocol import Protocol
from eval.run import Plan, write_plan
from eval.scoring.steps import score_again
from eval.store import Store, open_store
from eval.suites import cells_of, load_suite
from eval.sweep import make_setting

READER = "benchmark"


def main(
    rows: Annotated[int, typer.Option(help="Pictures in all.")] = 100_000,
    repeats: Annotated[int, typer.Option(help="How often each normaliser is timed.")] = 3,
) -> None:
    """Print wall and CPU seconds of each normaliser."""
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder) / "eval.duckdb", "write") as store:
        ids = fill(store, rows)
        print("| normaliser | readings | seconds | CPU seconds | target |\n|---|---|---|---|---|")
        score_again(store, ids, Protocol(READER))  # joins lines of readings to texts, once for all
        for normaliser in ("alnum", "nospace", "strict"):
            for _ in range(repeats):
                store.execute(
                    "DELETE FROM text_scores WHERE protocol_id = ?",
                    [Protocol(READER, normaliser=normaliser).id],
                )
                forget_texts()
                wall, cpu = time.perf_counter(), time.process_time()
                score_again(store, ids, Protocol(READER, normaliser=normaliser))
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                print(f"| {normaliser} | {rows:,} | {wall:.2f} | {cpu:.2f} | ≤ 5 s |", flush=True)


def forget_texts() -> None:
    """Empty every cache of texts, as a new process has them."""
    for module in (eval.text_metrics.normalisers, eval.text_metrics.counts):
        for thing in vars(module).values():
            if hasattr(thing, "cache_clear"):
                thing.cache_clear()


def fill(store: Store, n_rows: int) -> list[str]:
    """Settings, samples and readings, without pictures; returns the settings' ids."""
    suite = load_suite("full")
    cells = cells_of(suite)
    settings = [make_setting({"n": n}, f"setting {n}") for n in range(max(1, n_rows // len(cells)))]
    write_plan(store, Plan(suite, cells, settings))
    rng = np.random.default_rng(0)
    samples: list[dict[str, Any]] = []
    readings: list[dict[str, Any]] = []
    for setting in settings:
        for cell in cells:
            sha256 = f"{len(samples):064x}"
            key = {"setting_id": setting.id, "prompt_id": cell.prompt.id, "seed": cell.seed}
            samples.append(key | {"status": "done", "sha256": sha256})
            lines = json.dumps([asdict(line) for line in misread(cell.prompt.txt, rng)])
            key = {"sha256": sha256, "reader_id": READER, "region_id": ""}
            readings.append(key | {"lines": lines})
    store.write("samples", samples)
    store.write("readings", readings)
    return [setting.id for setting in settings]


def misread(text: str, rng: np.random.Generator) -> list[TextLine]:
    """The lines of a text, two of three with a letter wrong, missing, or in another case."""
    found = []
    for i, line in enumerate(filter(str.strip, text.split("\n"))):
        at, fault = int(rng.integers(len(line))), int(rng.integers(6))
        letter = ["", line[at].swapcase(), chr(97 + int(rng.integers(26))), *[line[at]] * 3][fault]
        said = (line[:at] + letter + line[at + 1 :]).strip()
        box = tuple((float(x), float(y + 20 * i)) for x, y in ((0, 0), (60, 0), (60, 16), (0, 16)))
        if said:
            found.append(TextLine(box, said, 0.9))
    return found


if __name__ == "__main__":
    typer.run(main)
