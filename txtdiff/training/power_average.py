"""Averages whose length is chosen after training (Karras et al. 2024, section 3 and appendix C).

A power-function average of exponent g gives the weights after step n the share n^(g+1) - (n-1)^(g+1) of the
whole N^(g+1): it looks back over a fixed fraction of the run, however long the run becomes. Its *length* is
the standard deviation of that profile as a fraction of the run. Two averages of different lengths, stored now
and then while training, span a space in which any other length is found by least squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Profile", "exponent_of", "mixture", "new_share"]


class Profile(NamedTuple):
    """A power-function average as it was after some step."""

    length: float
    step: int


@cache
def exponent_of(length: float) -> float:
    """g of a length s: the largest root of s^2 (g + 2)^2 (g + 3) = g + 1, the profile's variance."""
    inverse = length**-2
    roots = np.roots([1.0, 7.0, 16.0 - inverse, 12.0 - inverse])
    return float(roots.real[np.abs(roots.imag) < 1e-9].max())


def new_share(step: int, length: float) -> float:
    """Share of the newest weights in the average after `step` (counted from 1) optimiser steps."""
    return float(1.0 - (1.0 - 1.0 / step) ** (exponent_of(length) + 1.0))


def mixture(stored: Sequence[Profile], wanted: Profile) -> tuple[NDArray[np.float64], float]:
    """Coefficients of stored averages whose sum is nearest to a wanted one.

    Profiles are functions of time, p(t) = (g + 1) t^g / N^(g+1) on 0 … N; near is meant in their L2 norm.

    Returns:
        One coefficient for each of `stored`, their sum being 1, and the distance left over as a fraction of
        the wanted profile's norm.
    """
    n = wanted.step  # times it, numbers are near 1
    gram = n * np.array([[_inner(a, b) for b in stored] for a in stored])
    sides = n * np.array([_inner(a, wanted) for a in stored])
    norm = n * _inner(wanted, wanted)
    # Weights must sum to 1, for a network's average must be one of networks: a Lagrange multiplier.
    ones = np.ones((len(stored), 1))
    system = np.block([[gram, ones], [ones.T, np.zeros((1, 1))]])
    x = np.linalg.lstsq(system, np.append(sides, 1.0), rcond=None)[0][:-1]
    left = x @ gram @ x - 2 * x @ sides + norm
    return x, float(np.sqrt(max(left, 0.0) / norm))


def _inner(a: Profile, b: Profile) -> float:
    """The integral of two profiles' product."""
    g, h = exponent_of(a.length), exponent_of(b.length)
    shorter, longer = min(a.step, b.step), max(a.step, b.step)
    # Of the one that ends later only the part until the other's end counts.
    of_longer = h if a.step <= b.step else g
    overlap = (shorter / longer) ** of_longer / longer
    return float((g + 1) * (h + 1) / (g + h + 1) * overlap)
