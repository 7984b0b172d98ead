"""Which picture comes when, and which random numbers go with it: functions of (seed, position) alone.

A position is the number of a picture in the endless sequence that training reads; epoch = position // n.
Nothing here holds state, so a run resumed, with any number of workers or ranks, is the run never stopped
(the idea of EDM2's training loop: Karras et al. 2024, "Analyzing and Improving the Training Dynamics of
Diffusion Models").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Literal
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "Purpose",
    "index_at",
    "noise_at",
    "numpy_generator",
    "rank_positions",
    "seed_at",
    "torch_generator",
    "uniform_at",
]

Purpose = Literal[
    "order", "item", "noise", "time", "low_res", "low_res_time", "low_res_noise", "network", "first_weights"
]
"""What random numbers are for. Each purpose has its own stream: one more draw here shifts nothing there."""


def index_at(position: int, n: int, seed: int) -> int:
    """Index (0 .. n-1) of the picture at `position`: every epoch is a fresh shuffle of all n pictures."""
    epoch, offset = divmod(position, n)
    return int(_shuffled(n, seed, epoch)[offset])


@lru_cache(maxsize=2)  # a batch may reach into the next epoch
def _shuffled(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return numpy_generator(seed, "order", epoch).permutation(n)


def rank_positions(
    start: int, stop: int, batch_size: int, rank: int = 0, n_ranks: int = 1
) -> Iterator[list[int]]:
    """One rank's share of each batch, from position `start` until `stop` is reached.

    A batch is the same pictures at any number of ranks: rank r takes the r-th of equal contiguous parts.
    """
    share = batch_size // n_ranks
    for first in range(start, stop, batch_size):
        mine = first + rank * share
        yield list(range(mine, mine + share))


def numpy_generator(seed: int, purpose: Purpose, position: int) -> np.random.Generator:
    """The random numbers that belong to (seed, purpose, position)."""
    return np.random.Generator(np.random.PCG64(_seed_sequence(seed, purpose, position)))


def torch_generator(seed: int, purpose: Purpose, position: int) -> torch.Generator:
    """`numpy_generator` for torch, on the CPU."""
    return torch.Generator().manual_seed(seed_at(seed, purpose, position))


def seed_at(seed: int, purpose: Purpose, position: int) -> int:
    """A seed for any other generator, 0 <= seed < 2^63."""
    return int(_seed_sequence(seed, purpose, position).generate_state(1, np.uint64)[0]) >> 1


def uniform_at(seed: int, purpose: Purpose, positions: Sequence[int]) -> Tensor:
    """One number of U(0, 1) for each position, (B,) float64."""
    return torch.tensor([numpy_generator(seed, purpose, p).random() for p in positions], dtype=torch.float64)


def noise_at(seed: int, purpose: Purpose, positions: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Standard normal numbers for each position, (B, *shape) float32.

    Drawn on the CPU, so that every device trains with the same bits.
    """
    return torch.stack([torch.randn(shape, generator=torch_generator(seed, purpose, p)) for p in positions])


def _seed_sequence(seed: int, purpose: Purpose, position: int) -> np.random.SeedSequence:
    return np.random.SeedSequence([seed, crc32(purpose.encode()), position])
