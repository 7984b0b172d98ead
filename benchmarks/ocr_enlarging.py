"""Which enlargement small pictures get before they are read: a paired test of the default reader.

    python benchmarks/ocr_enlarging.py --n-each 125

Every candidate reads the same pictures of 64 and 128 px, half of them `plain`, half `scene`; `--n-each` is
the number of each size and profile, so four times that many pictures.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Annotated, Any

import typer
from harness import table
from ocr_pictures import (
    PROFILES,
    Mistakes,
    error_rate,
    mistakes,
    paired_difference,
    pictures_with_text,
    recall,
)

from datatools.console import progress
from datatools.ocr import open_engine

SIZES_PX = (64, 128)
REFERENCE = "256 px, bicubic"


def candidate(short_side_px: int, kernel: str) -> dict[str, Any]:
    """Settings of the reader: enlarge that far, and let its detector see the picture as it then is."""
    enlarge = {"short_side_px": short_side_px, "max_factor": 8, "kernel": kernel}
    return {"enlarge": enlarge, "detection_side_px": max(128, short_side_px)}


CANDIDATES = {
    "none (the detector enlarges for itself)": {"enlarge": {"short_side_px": 1}, "detection_side_px": 256},
    "128 px, bicubic": candidate(128, "bicubic"),
    "192 px, bicubic": candidate(192, "bicubic"),
    "256 px, nearest": candidate(256, "nearest"),
    "256 px, bicubic": candidate(256, "bicubic"),
    "256 px, lanczos": candidate(256, "lanczos"),
    "384 px, bicubic": candidate(384, "bicubic"),
}


def main(n_each: Annotated[int, typer.Option(help="Pictures of each size and profile.")] = 125) -> None:
    """Print one row per candidate."""
    pictures = pictures_with_text(n_each, SIZES_PX)
    readers = {name: open_engine("rapidocr", **settings) for name, settings in CANDIDATES.items()}
    found: dict[str, list[Mistakes]] = defaultdict(list)
    cpu_s: dict[str, float] = defaultdict(float)
    with progress("reading pictures", len(pictures)) as advance:
        for _, picture in pictures:
            for name, reader in readers.items():
                started = time.process_time()
                [lines] = reader.read([picture.image])
                cpu_s[name] += time.process_time() - started
                found[name].append(mistakes(picture, lines))
            advance()
    groups = [(size, profile) for size in SIZES_PX for profile in PROFILES]
    print(f"n = {len(pictures)}, of each size and profile {n_each}; CER % (95 % interval)\n")
    rows = []
    for name in readers:
        by_group: dict[tuple[int, str], list[Mistakes]] = defaultdict(list)
        for (size_px, picture), mistake in zip(pictures, found[name], strict=True):
            by_group[size_px, picture.profile].append(mistake)
        row = [name, *(error_rate(by_group[group]) for group in groups), recall(found[name])]
        row += [paired_difference(found[name], found[REFERENCE]), f"{1000 * cpu_s[name] / len(pictures):.0f}"]
        rows.append(row)
    columns = [*(f"{size} px {profile}" for size, profile in groups), "words found %"]
    print(table(["enlarged to", *columns, f"CER minus that of {REFERENCE}", "CPU ms"], rows))


if __name__ == "__main__":
    typer.run(main)
