"""Draws that come out the same on every machine: integers and comparisons, no libm in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from numpy.random import PCG64, Generator, SeedSequence

__all__ = ["between", "generator_for", "grain", "pick", "pick_weighted"]

T = TypeVar("T")


def generator_for(seed: int, index: int) -> Generator:
    """The source of everything random in picture `index`: no other picture shares it."""
    return Generator(PCG64(SeedSequence(entropy=seed, spawn_key=(index,))))


def pick(rng: Generator, items: Sequence[T]) -> T:
    """One of `items`, each as likely."""
    return items[int(rng.integers(len(items)))]


def pick_weighted(rng: Generator, weights: Mapping[T, float]) -> T:
    """One key, with a probability in proportion to its weight."""
    remaining = float(rng.random()) * sum(weights.values())
    for item, weight in weights.items():
        remaining -= weight
        if remaining < 0:
            return item
    return max(weights, key=lambda item: weights[item])  # rounding left a crumb


def between(rng: Generator, low: float, high: float) -> float:
    """A number from `low` to `high`, on a grid of 1/1024 of the way."""
    return low + (high - low) * int(rng.integers(1025)) / 1024


def grain(rng: Generator, shape: tuple[int, ...], strength: int) -> npt.NDArray[np.int16]:
    """Bell-shaped whole numbers of standard deviation about `strength`, int16.

    The sum of four uniform bytes: `Generator.normal` goes through exp and log, which differ between machines.
    """
    bytes_ = rng.integers(0, 256, (4, *shape), np.uint8).astype(np.int32)
    # four uniform bytes have a standard deviation of 147.8
    return np.asarray((bytes_.sum(axis=0) - 510) * strength // 148, np.int16)
