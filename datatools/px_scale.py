"""Stored / original size of a picture that somebody has enlarged, found in its pixels.

A line of pixels enlarged by f is U a: a few original values a, and the matrix U of the interpolation, whose
columns are shifted copies of one kernel. So it lies in a space of 1 / f of its dimensions, but for rounding
and compression. For each f on a fine grid we take what is left of the picture's liveliest lines outside that
space. In a picture that was never enlarged it falls smoothly with f; at the true f of an enlarged one it dips
steeply below its neighbours, because neighbouring f put the original pixels elsewhere. That is evidence of
another kind than softness, which blur and heavy compression have as well.

How good it is, on 27 pictures, ten of which certainly had no part in choosing its thresholds: wrong on
5 of 243 untouched pieces; on enlarged ones an answer for 63 to 89 % as PNG, 37 to 63 % as JPEG 90 and 7 to
44 % as JPEG 75, of which 96 to 100 % are right (57 % for JPEG 75 at factor 2), mostly within 1 %
(docs/data-formats.md has the table).

Related: periodic traces of interpolation (Gallagher 2005; Popescu and Farid 2005), which fix f only up to
aliases and share their frequencies with JPEG's blocks. benchmarks/px_scale.py measures both, a limit of the
spectrum, and shrinking and growing again, beside this.
"""

from __future__ import annotations

from functools import cache

import numpy as np

__all__ = ["ESTIMATOR", "FACTORS", "estimate_px_scale"]

ESTIMATOR = "subspace-1"

FACTORS = np.exp(np.arange(np.log(1.1), np.log(6.0), 0.005))
"""Enlargements that are compared. Estimates keep away from both ends, where neighbours are missing."""

_WINDOWS_PX = (128, 64)  # length of the lines; shorter ones for small pictures
_N_PHASES = 4  # where the first pixel may lie between two original ones: pictures are cut after enlarging
_N_PLACES, _N_LINES = 3, 32
_NOISE = 0.04  # grey levels squared: rounding of three colours
_NEAR, _FAR = 5, 15  # neighbours that a dip is compared with, in steps of FACTORS
_MIN_DIP, _MIN_DIP_BOTH, _MIN_DIP_EACH = 1.2, 1.6, 0.3  # natural logarithms; see the benchmark
_MARGIN = 12


def estimate_px_scale(picture: np.ndarray) -> tuple[float, float] | None:
    """How much larger a picture is than what it was made from.

    Enlargements from 1.17 to 5.6 are looked for, by any linear interpolation. Where the evidence is thin
    (blurred originals, JPEG of low quality) it says nothing rather than guess.

    Args:
        picture: (H, W, 3) uint8 RGB.

    Returns:
        (sx, sy), both at least 1, or None: not enlarged, or nobody can tell.
    """
    grey = picture.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    across, down = _dips(grey), _dips(grey.T)
    sx, sy = (None if dips is None else _deepest(dips, _MIN_DIP) for dips in (across, down))
    if (sx is None or sy is None) and across is not None and down is not None:
        # What both axes say together counts before what one says alone.
        both = _deepest(_shared(across, down), _MIN_DIP_BOTH)
        sx, sy = (both, both) if both is not None else (sx, sy)
    return None if sx is None and sy is None else (sx or 1.0, sy or 1.0)


def _shared(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The sum of both axes' dips, where each has one: a picture may be enlarged along one axis alone."""
    return np.where(np.minimum(first, second) >= _MIN_DIP_EACH, first + second, 0)


def _deepest(dips: np.ndarray, least: float) -> float | None:
    """The largest of the factors whose dips are about the deepest: twice enlarged is also once."""
    inner = dips[_MARGIN:-_MARGIN]
    deep = np.flatnonzero(inner >= max(least, inner.max() / 2))
    if not len(deep):
        return None
    first = max(0, deep[-1] - _NEAR)
    best = first + int(np.argmax(inner[first : deep[-1] + 1]))
    return round(float(FACTORS[_MARGIN + best]), 3)


def _dips(grey: np.ndarray) -> np.ndarray | None:
    """By how much the remainder at each of FACTORS lies below its neighbours, along the second axis."""
    window = next((length for length in _WINDOWS_PX if length <= grey.shape[1]), None)
    if window is None:
        return None
    lively = _lively(grey, window)
    dips: np.ndarray = np.max([_below_neighbours(lively, kernel) for kernel in _KERNELS], axis=0)
    return dips


def _below_neighbours(lively: list[np.ndarray], kernel: str) -> np.ndarray:
    remainder = np.log(np.mean([_remainders(lines, kernel) for lines in lively], axis=0) + _NOISE)
    steps = np.arange(len(FACTORS))
    around = [
        np.median([remainder[np.clip(steps + sign * d, 0, steps[-1])] for d in range(_NEAR, _FAR)], axis=0)
        for sign in (-1, 1)
    ]
    below: np.ndarray = np.minimum(*around) - remainder
    return below


def _lively(grey: np.ndarray, window: int) -> list[np.ndarray]:
    """Pieces of the lines in which most happens, (window, lines) each, from the liveliest places."""
    change = np.diff(grey, axis=1) ** 2
    found = []
    for start in np.unique(np.linspace(0, grey.shape[1] - window, 16).astype(int)):
        energy = change[:, start : start + window - 1].sum(axis=1)
        lines = np.argsort(-energy, kind="stable")[:_N_LINES]
        found.append((-float(energy[lines].sum()), int(start), lines))
    found.sort(key=lambda place: place[:2])
    return [grey[lines, start : start + window].T for _, start, lines in found[:_N_PLACES]]


def _remainders(lines: np.ndarray, kernel: str) -> np.ndarray:
    """Mean squared remainder per dimension outside each factor's space, at the phase where it is least."""
    bases, ranks = _spaces(len(lines), kernel)
    centred = lines - lines.mean(axis=0)
    inside = np.add.reduceat(((bases @ centred) ** 2).sum(axis=1), np.r_[0, np.cumsum(ranks)[:-1]])
    outside = (centred**2).sum() - inside
    n_left = np.maximum(len(lines) - ranks, 1)  # none at the small end of FACTORS, which is not looked at
    per_dimension = np.maximum(outside / (n_left * lines.shape[1]), 0)
    least: np.ndarray = per_dimension.reshape(-1, _N_PHASES).min(axis=1)
    return least


@cache
def _spaces(window: int, kernel: str) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal bases of all factors and phases, stacked as rows, and how many each has: 40 MB."""
    weights, support = _KERNELS[kernel]
    bases = []
    for factor in FACTORS:
        for phase in range(_N_PHASES):
            at = np.arange(window) / factor + phase / _N_PHASES
            matrix = weights(np.arange(-support, int(at[-1]) + support + 2)[None, :] - at[:, None])
            bases.append(np.linalg.qr(matrix[:, np.abs(matrix).sum(axis=0) > 1e-6])[0].T.astype(np.float32))
    return np.concatenate(bases), np.array([len(basis) for basis in bases])


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = -1/2 (1981)."""
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights: np.ndarray = np.where(x < 1, near, np.where(x < 2, far, 0))
    return weights


def _lanczos(x: np.ndarray) -> np.ndarray:
    weights: np.ndarray = np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)
    return weights


def _linear(x: np.ndarray) -> np.ndarray:
    weights: np.ndarray = np.maximum(1 - np.abs(x), 0)
    return weights


_KERNELS = {"linear": (_linear, 1), "cubic": (_cubic, 2), "lanczos": (_lanczos, 3)}
"""Interpolations that are looked for, each with its half width in original pixels."""
