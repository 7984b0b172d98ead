"""How sure a number is: intervals by prompt, paired tests, correction for many of them.

The unit that was sampled is the prompt, not the picture: all pictures of a prompt travel together
(cluster bootstrap; Miller 2024, "Adding error bars to evals", section 2.2).
"""

from __future__ import annotations

from functools import lru_cache
from math import comb
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr

__all__ = [
    "Interval",
    "bootstrap_weights",
    "cluster_sums",
    "draws_interval",
    "holm",
    "mcnemar_midp",
    "mean_interval",
    "ratio_draws",
    "ratio_interval",
    "sign_flip_p",
    "wilson",
    "wilson_of_mean",
]

Floats = npt.NDArray[np.float64]

N_BOOTSTRAP = 2_000
N_PERMUTATIONS = 10_000


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


def mcnemar_midp(n_only_a: int, n_only_b: int) -> float:
    """Exact McNemar mid-p, two-sided: are the pairs that only one side won split evenly?

    Fagerland, Lydersen and Laake 2013, equation 7. 1 when no pair differs.
    """
    n = n_only_a + n_only_b
    if n == 0:
        return 1.0
    k = min(n_only_a, n_only_b)
    return float(min(1.0, 2 * bdtr(k, n, 0.5) - comb(n, k) / 2**n))


def sign_flip_p(differences: Floats, n_draws: int = N_PERMUTATIONS, seed: int = 0) -> Floats:
    """Two-sided p of a zero mean difference, by flipping the signs of whole clusters.

    Args:
        differences: (n_clusters, K): per cluster the difference of means, for K comparisons at once.

    Returns:
        (K,), each at least 1 / (n_draws + 1): the observed signs are one of the permutations.
    """
    rng = np.random.default_rng(seed)
    signs = rng.integers(0, 2, size=(n_draws, len(differences)), dtype=np.int8) * np.int8(2) - np.int8(1)
    observed = np.abs(differences.sum(axis=0))
    drawn = np.abs(signs.astype(np.float64) @ differences)
    # Sums of the same numbers in another order may differ in the last digit.
    return np.asarray((1 + (drawn >= observed * (1 - 1e-12) - 1e-12).sum(axis=0)) / (n_draws + 1))


def holm(p_values: npt.ArrayLike) -> Floats:
    """Holm's step-down adjustment (Holm 1979): compare with the level as if there were one test."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
