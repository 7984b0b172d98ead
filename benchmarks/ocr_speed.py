"""Pictures a second of our readers beside plain loops over the same libraries, on the same cores.

    python benchmarks/ocr_speed.py --n-each 8 --rounds 3

The loops are what their documentation shows: `RapidOCR()(picture)` and `easyocr.Reader(["en"],
gpu=False).readtext(picture)`, one process, threads as they choose. Ours are two worker processes of one
thread each, as `build-catalog --workers 2` starts them. All contenders are loaded and warmed up before, and
take turns within every round, so that whatever else the machine does falls on all of them. Ratios, not
rates, are the result.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Annotated, Any

import numpy as np
import typer
from ocr_pictures import SIZES_PX, Mistakes, error_rate, mistakes, paired_difference, pictures_with_text

from datatools.console import progress
from datatools.ocr import TextLine
from datatools.ocr.engine import Picture

READERS = ("rapidocr loop", "easyocr loop", "rapidocr", "easyocr")
N_WORKERS = 2
_reader: Any = None  # of a worker process


def main(
    n_each: Annotated[int, typer.Option(help="Pictures of each size and profile.")] = 8,
    rounds: Annotated[int, typer.Option(help="How often every contender reads all of them.")] = 3,
) -> None:
    """Print seconds, ratios and error rates."""
    pictures = pictures_with_text(n_each)
    by_size = {size: [p for s, p in pictures if s == size] for size in SIZES_PX}
    pools = {name: _pool(name) for name in READERS}
    for pool in pools.values():
        _read(pool, [picture.image for _, picture in pictures[: 2 * N_WORKERS]])
    seconds: dict[tuple[str, int], list[float]] = defaultdict(list)
    found: dict[str, list[Mistakes]] = {}
    with progress("reading pictures", rounds * len(SIZES_PX) * len(READERS)) as advance:
        for _ in range(rounds):
            found = defaultdict(list)
            for size_px, alike in by_size.items():
                for name, pool in pools.items():
                    started = time.perf_counter()
                    readings = _read(pool, [picture.image for picture in alike])
                    seconds[name, size_px].append(time.perf_counter() - started)
                    found[name] += [mistakes(p, lines) for p, lines in zip(alike, readings, strict=True)]
                    advance()
    _report(2 * n_each, seconds, found)


def _report(n: int, seconds: dict[tuple[str, int], list[float]], found: dict[str, list[Mistakes]]) -> None:
    print(f"n = {n} pictures of each size; pictures/s, median over rounds")
    for name in READERS:
        rates = [f"{n / statistics.median(seconds[name, size]):.1f}" for size in SIZES_PX]
        print(f"| {name} | " + " | ".join(rates) + f" | CER {error_rate(found[name])} |")
    print("times as fast (lowest to highest round)")
    for ours, theirs in (
        ("rapidocr", "rapidocr loop"),
        ("rapidocr", "easyocr loop"),
        ("easyocr", "easyocr loop"),
    ):
        cells = []
        for sizes in (*([size] for size in SIZES_PX), SIZES_PX):
            ratios = _ratios(seconds, ours, theirs, sizes)
            cells.append(f"{statistics.median(ratios):.1f} ({min(ratios):.1f}-{max(ratios):.1f})")
        difference = paired_difference(found[ours], found[theirs])
        print(f"| {ours} / {theirs} | " + " | ".join(cells) + f" | CER {difference} |")


def _ratios(seconds: dict[tuple[str, int], list[float]], ours: str, theirs: str, sizes: Any) -> list[float]:
    """Per round, how many times as long `theirs` took over some sizes together."""
    ours_s, theirs_s = (np.sum([seconds[name, size] for size in sizes], axis=0) for name in (ours, theirs))
    return [float(ratio) for ratio in theirs_s / ours_s]


def _pool(name: str) -> tuple[ProcessPoolExecutor, int]:
    n_workers = 1 if name.endswith("loop") else N_WORKERS
    context = get_context("spawn")
    return ProcessPoolExecutor(n_workers, context, _open, (name,)), n_workers


def _read(pool: tuple[ProcessPoolExecutor, int], images: list[Picture]) -> list[list[TextLine]]:
    executor, n_workers = pool
    if n_workers == 1:
        return executor.submit(_read_here, images).result()
    # a few pictures at a time, as the workers of build-catalog get them
    chunks = [images[start : start + 4] for start in range(0, len(images), 4)]
    return [lines for chunk in executor.map(_read_here, chunks) for lines in chunk]


def _open(name: str) -> None:
    global _reader
    if name == "rapidocr loop":
        from rapidocr import RapidOCR

        _reader = RapidOCR(params={"Global.log_level": "error"})
    elif name == "easyocr loop":
        import easyocr
        import easyocr_en_models

        folder = easyocr_en_models.model_dir()
        _reader = easyocr.Reader(["en"], gpu=False, model_storage_directory=folder, verbose=False)
    else:
        from datatools.ocr import open_engine

        _reader = open_engine(name)


def _read_here(images: list[Picture]) -> list[list[TextLine]]:
    if hasattr(_reader, "read"):
        return list(_reader.read(images))
    if hasattr(_reader, "readtext"):
        return [[_line(*found) for found in _reader.readtext(image)] for image in images]
    readings = []
    for image in images:
        found = _reader(image[:, :, ::-1])
        boxes = [] if found.boxes is None else zip(found.boxes, found.txts, found.scores, strict=True)
        readings.append([_line(*one) for one in boxes])
    return readings


def _line(corners: Any, text: str, confidence: float) -> TextLine:
    return TextLine(tuple((float(x), float(y)) for x, y in corners), text, float(confidence))


if __name__ == "__main__":
    typer.run(main)
