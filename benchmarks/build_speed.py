"""Pictures a second of build-catalog beside plain loops over RapidOCR and EasyOCR, whole commands in turns.

    python benchmarks/build_speed.py --n-each 10 --rounds 3

Every contender reads the same PNG files of 64 to 512 px, half `plain`, half `scene`, words and fonts from the
test half. Ours is the command `datatools build-catalog`, with catalog and sidecars. A loop opens each file
with Pillow and prints what it reads, as the libraries' documentation shows, with as many threads as they
choose for themselves. The start (imports, models) is measured on one picture alone, stated, and taken off:
rates are (n - 1) pictures over (seconds of all - seconds of one). CPU seconds are of all processes;
"reading" is the part of the workers' time that they spent inside the readers, as the command says it.
"""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from harness import load_average, ratio, table
from ocr_pictures import SIZES_PX, Mistakes, error_rate, mistakes, paired_difference, pictures_with_text
from PIL import Image

from datatools.catalog import open_catalog
from datatools.console import messages
from datatools.ocr import TextLine

Readings = dict[str, list[TextLine]]

OPENERS = {
    "RapidOCR() loop": """
from rapidocr import RapidOCR
reader = RapidOCR(params={"Global.log_level": "error"})
def read(picture):
    found = reader(picture[:, :, ::-1])
    return [] if found.boxes is None else zip(found.boxes, found.txts, found.scores)
""",
    "easyocr loop": """
import easyocr, easyocr_en_models, warnings
warnings.filterwarnings("ignore")
folder = easyocr_en_models.model_dir()
reader = easyocr.Reader(["en"], gpu=False, model_storage_directory=folder, verbose=False)
read = reader.readtext
""",
}
LOOP = """
import json, sys
from pathlib import Path
import numpy as np
from PIL import Image
for path in sorted(Path(sys.argv[1]).iterdir()):
    found = read(np.asarray(Image.open(path).convert("RGB")))
    found = [[np.asarray(box).tolist(), text, float(score)] for box, text, score in found]
    print(json.dumps([path.name, found]))
"""
OURS = {
    "rapidocr, 2 workers": ("rapidocr", 2),
    "rapidocr, 1 worker": ("rapidocr", 1),
    "easyocr, 2 workers": ("easyocr", 2),
}
PAIRS = {
    ("rapidocr, 2 workers", "RapidOCR() loop"): 2.5,
    ("rapidocr, 2 workers", "easyocr loop"): 5.0,
    ("easyocr, 2 workers", "easyocr loop"): 1.8,
    ("rapidocr, 2 workers", "rapidocr, 1 worker"): 1.9,
}
"""Who is compared with whom, and how many times as fast it should be."""


def main(
    n_each: Annotated[int, typer.Option(help="Pictures of each size and profile.")] = 10,
    rounds: Annotated[int, typer.Option(help="How often each contender runs.")] = 3,
    who: Annotated[list[str], typer.Option(help="Only contenders whose names hold this.")] = [""],  # noqa: B006
) -> None:
    """Print rates, ratios and error rates."""
    pictures = pictures_with_text(n_each)
    names = [name for name in [*OURS, *OPENERS] if any(part in name for part in who)]
    seconds: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    shares: dict[str, str] = {}
    found: dict[str, list[Mistakes]] = {}
    with tempfile.TemporaryDirectory() as folder:
        all_of_them, one = Path(folder) / "all", Path(folder) / "one"
        for place, few in ((all_of_them, pictures), (one, pictures[:1])):
            place.mkdir()
            for number, (_, picture) in enumerate(few):
                Image.fromarray(picture.image).save(place / f"{number:04d}.png")
        for round_ in range(rounds):
            for name in names:
                messages.print(f"round {round_ + 1} of {rounds}: {name}, load {load_average()}", markup=False)
                start_s, start_cpu_s, _, _ = run(name, one)
                wall_s, cpu_s, readings, shares[name] = run(name, all_of_them)
                seconds[name].append((wall_s - start_s, cpu_s - start_cpu_s, start_s))
                found[name] = [
                    mistakes(p, readings.get(f"{i:04d}.png", [])) for i, (_, p) in enumerate(pictures)
                ]
    sizes = [size for size, _ in pictures]
    print_tables(seconds, shares, found, sizes)


def run(name: str, folder: Path) -> tuple[float, float, Readings, str]:
    """Seconds, CPU seconds, readings, and the share of reading, of a contender's whole command."""
    work = Path(tempfile.mkdtemp(dir=folder.parent))
    if name in OURS:
        engine, n_workers = OURS[name]
        catalog = work / "c.duckdb"
        options = ["--catalog", str(catalog), "--ocr", engine, "--workers", str(n_workers)]
        command = [sys.executable, "-m", "datatools", "build-catalog", str(folder), *options]
    else:
        command = [sys.executable, "-c", OPENERS[name] + LOOP, str(folder)]
    used, started = _children_cpu_s(), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    wall_s, cpu_s = time.monotonic() - started, _children_cpu_s() - used
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    readings = _catalogued(work / "c.duckdb") if name in OURS else _printed(done.stdout)
    shutil.rmtree(work)
    share = re.search(r"(\d+ %) of the workers' time", done.stderr)
    return wall_s, cpu_s, readings, share[1] if share else "-"


def _catalogued(path: Path) -> Readings:
    readings: Readings = defaultdict(list)
    with open_catalog(path) as catalog:
        for row in catalog.arrow(
            "SELECT key, text, confidence, polygon FROM lines ORDER BY key, line"
        ).to_pylist():
            corners = list(zip(row["polygon"][::2], row["polygon"][1::2], strict=True))
            readings[row["key"]].append(TextLine(tuple(corners), row["text"], row["confidence"]))
    return readings


def _printed(lines: str) -> Readings:
    parsed: list[tuple[str, list[Any]]] = [json.loads(line) for line in lines.splitlines()]
    return {
        name: [TextLine(tuple((x, y) for x, y in box), text, score) for box, text, score in found]
        for name, found in parsed
    }


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def print_tables(
    seconds: dict[str, list[tuple[float, float, float]]],
    shares: dict[str, str],
    found: dict[str, list[Mistakes]],
    sizes: list[int],
) -> None:
    """Rates of each contender, then how many times as fast ours are."""
    n, rounds = len(sizes), len(next(iter(seconds.values())))
    print(
        f"n = {n} pictures, {rounds} rounds; medians of the rounds; CER with 95 % intervals over pictures\n"
    )
    rows = []
    for name, spent in seconds.items():
        wall_s, cpu_s, start_s = (median(column) for column in zip(*spent, strict=True))
        cers = [
            error_rate([m for m, s in zip(found[name], sizes, strict=True) if s == size]) for size in SIZES_PX
        ]
        rows.append(
            [
                *(name, f"{(n - 1) / wall_s:.1f}", f"{1000 * cpu_s / (n - 1):.0f}", f"{start_s:.1f}"),
                *(shares[name], *cers),
            ]
        )
    columns = [
        "pictures/s",
        "CPU ms a picture",
        "start s",
        "reading",
        *(f"CER % at {size} px" for size in SIZES_PX),
    ]
    print(table(["command", *columns], rows), end="\n\n")
    rows = []
    for (ours, theirs), target in PAIRS.items():
        if {ours, theirs} <= {*seconds}:
            wall, cpu = (ratio(*([s[i] for s in seconds[name]] for name in (theirs, ours))) for i in (0, 1))
            rows.append(
                [f"{ours} / {theirs}", wall, cpu, target, paired_difference(found[ours], found[theirs])]
            )
    print(table(["times as fast", "by wall time", "by CPU time", "target", "CER, points"], rows))


if __name__ == "__main__":
    typer.run(main)
