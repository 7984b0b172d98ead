"""FID-infinity: what FID would be with endless pictures, from how it falls as there are more of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from eval.fidelity.distances import FID_MIN_PICTURES, AnyMatrix, Matrix, fit_gaussian, gaussian_distance

__all__ = ["MIN_R_SQUARED", "FidInfinity", "fid_infinity"]

MIN_R_SQUARED = 0.8
"""Below this a straight line does not describe how FID falls, and where it ends is not known."""


@dataclass(frozen=True)
class FidInfinity:
    """The extrapolated distance, or None with the reason, and how well the line fits."""

    value: float | None
    standard_error: float | None
    r_squared: float | None
    reason: str | None = None


def fid_infinity(
    features: AnyMatrix,
    reference: AnyMatrix,
    *,
    n_points: int = 15,
    n_shuffles: int = 3,
    smallest: int = FID_MIN_PICTURES,
    seed: int = 0,
) -> FidInfinity:
    """Extrapolate FID(n) = FID_inf + slope / n to 1/n = 0 (Chong and Forsyth 2020), on seeded subsets.

    Args:
        features: (n, d) of generated pictures.
        reference: (m, d) of real ones, all of them used at every point.
        n_points: subset sizes, evenly spaced in 1/n from max(smallest, n / 10) to n.
        n_shuffles: subsets of each size, whose mean is the point.
        smallest: no subset is smaller; 2,048 for Inception features, whose covariance needs as many.

    Returns:
        No value when there are too few pictures for two sizes, or when the line fits badly (R^2 < 0.8).
    """
    n = len(features)
    least = max(smallest, n // 10)
    if n < 1.2 * least:
        reason = f"{n} pictures; a line needs sizes from {least} to at least {round(1.2 * least)}"
        return FidInfinity(None, None, None, reason)
    random = np.random.default_rng(seed)
    target = fit_gaussian(reference)
    sizes = np.round(1 / np.linspace(1 / least, 1 / n, n_points)).astype(int)
    distances = []
    for size in sizes:
        subsets = [features[random.choice(n, size, replace=False)] for _ in range(n_shuffles)]
        distances.append(np.mean([gaussian_distance(fit_gaussian(subset), target) for subset in subsets]))
    return _fitted(1 / sizes, np.array(distances))


def _fitted(inverse: Matrix, distances: Matrix) -> FidInfinity:
    line = stats.linregress(inverse, distances)
    r_squared = float(line.rvalue**2)
    if not r_squared >= MIN_R_SQUARED:
        reason = f"FID is no straight line in 1/n here (R^2 = {r_squared:.2f})"
        return FidInfinity(None, None, r_squared, reason)
    return FidInfinity(float(line.intercept), float(line.intercept_stderr), r_squared)
