"""Random combinations of the fork's flags at full picture sizes: our network against the fork's.

    python tests/txtdiff/soak_combinations.py --size 128 256 --seeds 24

Not collected by pytest, which tries small pictures (test_fork_combinations.py). Combinations that no network
can be built from, in the fork neither, are counted apart.
"""

from __future__ import annotations

import argparse
import sys
import time

import torch
from test_fork_combinations import compare

TOLERANCE = 1e-5


def main() -> None:
    """Print a table; stop with an error when a network computes something else than the fork's."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| px | seeds | agree | cannot be built | largest difference, of the larger of 1 and the output |")
    print("| --- | --- | --- | --- | --- |")
    wrong = False
    for size in arguments.size:
        apart, odd = [], []
        for seed in range(arguments.first, arguments.first + arguments.seeds):
            started = time.process_time()
            try:
                difference, largest = compare(seed, size)
            except (ValueError, RuntimeError, AssertionError) as error:
                odd.append(f"{seed}: {str(error).splitlines()[0][:100]}")
                continue
            apart.append(difference / max(1.0, largest))
            print(
                f"{size} px, seed {seed}: {apart[-1]:.1e}, {time.process_time() - started:.1f} s",
                file=sys.stderr,
            )
        for line in odd:
            print(f"{size} px, seed {line}", file=sys.stderr)
        agree = sum(ratio <= TOLERANCE for ratio in apart)
        wrong |= agree < len(apart)
        print(
            f"| {size} | {arguments.seeds} | {agree} | {len(odd)} | {max(apart, default=0):.1e} |", flush=True
        )
    raise SystemExit(wrong)


if __name__ == "__main__":
    main()
