"""Is a difference more than chance? Paired tests, and correction for many of them."""

from __future__ import annotations

from math import comb

import numpy as np
import numpy.typing as npt

from eval.statistics.intervals import Floats

__all__ = ["holm", "mcnemar_midp", "sign_flip_p"]

N_PERMUTATIONS = 10_000


def mcnemar_midp(n_only_a: int, n_only_b: int) -> float:
    """Exact McNemar mid-p, two-sided: are the pairs that only one side won split evenly?

    Fagerland, Lydersen and Laake 2013, equation 7. 1 when no pair differs.
    """
    n = n_only_a + n_only_b
    if n == 0:
        return 1.0
    from scipy.special import bdtr  # a third of a second, where pairs differ

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
