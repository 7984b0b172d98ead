"""Random combinations of the fork's flags at full picture sizes: our network against the fork's.

    python tests/txtdiff/soak_combinations.py --size 128 256 --seeds 24

Not collected by pytest, which tries small pictures (test_fork_combinations.py). Combinations that no network
can be built from, in the fork neither, are counted apart. Over a map of 256 px torch's group norm in float32
rounds by more than the tolerance in some networks, ours and the fork's alike: where the two differ by more,
both are computed once more with norms in float64.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from test_fork_combinations import compare
from torch import Tensor
from torch.nn import functional as F

TOLERANCE = 1e-5


def main() -> None:
    """Print a table; stop with an error when a network computes something else than the fork's."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| px | seeds | agree to 1e-5 | others, norms in float64 | cannot be built |")
    print("| --- | --- | --- | --- | --- |")
    wrong = False
    for size in arguments.size:
        apart, exact, odd = [], [], 0
        for seed in range(arguments.first, arguments.first + arguments.seeds):
            try:
                apart.append(relative(seed, size))
                if apart[-1] > TOLERANCE:
                    with norms_in_float64():
                        exact.append(relative(seed, size))
            except (ValueError, RuntimeError, AssertionError) as error:
                odd += 1
                print(f"{size} px, seed {seed}: {str(error).splitlines()[0][:100]}", file=sys.stderr)
        wrong |= max(exact, default=0) > TOLERANCE
        within = [ratio for ratio in apart if ratio <= TOLERANCE]
        others = ", ".join(f"{ratio:.1e}" for ratio in exact) or "none"
        most = f"largest {max(within, default=0):.1e}"
        print(f"| {size} | {arguments.seeds} | {len(within)} ({most}) | {others} | {odd} |", flush=True)
    raise SystemExit(wrong)


def relative(seed: int, size: int) -> float:
    """The largest difference, as a part of the larger of 1 and the output."""
    difference, largest = compare(seed, size)
    return difference / max(1.0, largest)


@contextmanager
def norms_in_float64() -> Iterator[None]:
    """While it lasts, the group norms of both networks add up in float64."""
    narrow = F.group_norm

    def wide(x: Tensor, n: int, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
        return narrow(x.double(), n, weight.double(), bias.double(), eps).to(x.dtype)

    with mock.patch.object(F, "group_norm", wide):
        yield


if __name__ == "__main__":
    main()
