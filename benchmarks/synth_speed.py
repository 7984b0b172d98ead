"""Synthetic pictures a CPU second, by profile and size.

python benchmarks/synth_speed.py --n 200
"""

from __future__ import annotations

import statistics
import time
from typing import Annotated

import typer
from harness import table

from datatools.synth import PROFILES, SynthOptions, make_picture

SIZES_PX = (32, 64, 128, 256)
N_ROUNDS = 3


def main(
    n: Annotated[int, typer.Option(help="Pictures of each profile and size, each round.")] = 200,
) -> None:
    """Print the median of the rounds, lowest and highest beside it. Fonts are loaded before."""
    print(
        f"n = {n} in each of {N_ROUNDS} rounds; pictures a CPU second, one process; target at 64 px >= 100\n"
    )
    rows = []
    for profile in PROFILES:
        cells = []
        for size_px in SIZES_PX:
            options = SynthOptions(profile=profile, size_px=size_px, seed=1)
            make(options, 0, n)
            rates = [n / make(options, round_ * n, n) for round_ in range(1, N_ROUNDS + 1)]
            cells.append(f"{statistics.median(rates):.0f} ({min(rates):.0f}-{max(rates):.0f})")
        rows.append([profile, *cells])
    print(table(["profile", *(f"{size} px" for size in SIZES_PX)], rows))


def make(options: SynthOptions, first: int, n: int) -> float:
    """CPU seconds that `n` pictures from number `first` take, none of them written."""
    started = time.process_time()
    for index in range(first, first + n):
        make_picture(options, index)
    return time.process_time() - started


if __name__ == "__main__":
    typer.run(main)
