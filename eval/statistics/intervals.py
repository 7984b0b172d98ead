"""How sure a number is: intervals by prompt.

The unit that was sampled is the prompt, not the picture: all pictures of a prompt travel together
(cluster bootstrap; Miller 2024, "Adding error bars to evals", section 2.2).
"""

from __future__ import annotations

from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = [
    "Floats",
    "Interval",
    "bootstrap_weights",
    "cluster_sums",
    "draws_interval",
    "mean_interval",
    "ratio_draws",
    "ratio_interval",
    "wilson",
    "wilson_of_mean",
]

Floats = npt.NDArray[np.float64]

N_BOOTSTRAP = 2_000


class Interval(NamedTuple):
    """Bounds of a 95 % confidence interval."""

    low: float
    high: float


def wilson(n_true: float, n: int, level: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion (Wilson 1927): honest at 0 and at n, never of width 0."""
    z = NormalDist().inv_cdf(0.5 + level / 2)
    p, z2 = n_true / n, z * z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * np.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # At the ends one bound is the end itself; rounding would miss it by an ulp.
    low, high = float(centre - half), float(centre + half)
    return Interval(0.0 if n_true == 0 else low, 1.0 if n_true == n else high)


@lru_cache(maxsize=4)
def bootstrap_weights(n_clusters: int, n_draws: int = N_BOOTSTRAP, seed: int = 0) -> Floats:
    """How often each cluster is drawn in each resample, (n_draws, n_clusters). The same for every row.

    One set of draws for all settings keeps their common noise common: differences and ranks are
    bootstrapped pairwise for free.
    """
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), size=n_draws).astype(
        np.float64
    )
    weights.setflags(write=False)  # one array for all who ask
    return weights


def cluster_sums(values: npt.ArrayLike, clusters: npt.NDArray[np.int64], n_clusters: int) -> Floats:
    """Sum of `values` within each cluster, (n_clusters,)."""
    weights = np.asarray(values, dtype=np.float64)
    return np.bincount(clusters, weights=weights, minlength=n_clusters).astype(np.float64)


def ratio_draws(numerators: Floats, denominators: Floats, weights: Floats) -> Floats:
    """Resampled values of sum(numerators) / sum(denominators), per cluster (P,) or (P, K) -> (draws[, K])."""
    below = weights @ denominators
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((weights @ numerators) / below)


def ratio_interval(numerators: Floats, denominators: Floats, weights: Floats) -> Interval | None:
    """Percentile interval of a ratio of sums over clusters; None where all clusters agree.

    A resample without any denominator says nothing and is left out. When no cluster differs from another the
    bootstrap would claim certainty, so it gives no interval instead.
    """
    return draws_interval(ratio_draws(numerators, denominators, weights))


def draws_interval(draws: Floats) -> Interval | None:
    """Percentile interval of resampled values; None where they are all the same, or none is finite.

    The same but for rounding: sums of the same numbers in another order may differ in the last digit.
    """
    finite = draws[np.isfinite(draws)]
    if finite.size == 0 or np.ptp(finite) <= 1e-12 * np.abs(finite).max():
        return None
    low, high = np.quantile(finite, [0.025, 0.975])
    return Interval(float(low), float(high))


def mean_interval(
    values: npt.NDArray[np.float64], clusters: npt.NDArray[np.int64], weights: Floats
) -> Interval | None:
    """Interval of the mean of numbers in 0..1: `wilson_of_mean` where that applies, else the bootstrap's."""
    n_clusters = weights.shape[1]
    exact = wilson_of_mean(values, n_clusters)
    if exact is not None:
        return exact
    counts = cluster_sums(np.ones(len(values)), clusters, n_clusters)
    return ratio_interval(cluster_sums(values, clusters, n_clusters), counts, weights)


def wilson_of_mean(values: Floats, n_clusters: int) -> Interval | None:
    """Wilson's interval of a mean where it is the right one, else None.

    It is for yes or no with one number per cluster, and for a mean of exactly 0 or 1, where a bootstrap has
    nothing to draw from; there n is the number of clusters, as if repeats told nothing new.
    """
    mean = float(values.mean())
    is_binary = bool(np.isin(values, (0.0, 1.0)).all())
    if mean in (0.0, 1.0) or (is_binary and len(values) == n_clusters):
        return wilson(mean * n_clusters, n_clusters)
    return None
