"""Distances between two sets of features: Fréchet (FID) and the polynomial kernel's (KID)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from torchmetrics.image.kid import maximum_mean_discrepancy, poly_kernel

__all__ = [
    "FID_MIN_PICTURES",
    "AnyMatrix",
    "Gaussian",
    "KernelDistance",
    "Matrix",
    "fit_gaussian",
    "frechet_distance",
    "gaussian_distance",
    "kernel_distance",
]

FID_MIN_PICTURES = 2048
"""Below as many pictures as there are features a covariance has no full rank, and FID is mostly bias."""

Matrix = npt.NDArray[np.float64]
AnyMatrix = npt.NDArray[np.floating[Any]]
Indices = npt.NDArray[np.intp]
Pair = Literal["aa", "bb", "ab"]

MAX_ROWS_IN_MEMORY = 5000
"""Three kernels of this size take 600 MB; with more rows each subset's kernel is computed for itself."""


class KernelDistance(NamedTuple):
    """A kernel distance as it is computed (boards print it times 1,000); negative values are honest zeros."""

    mean: float
    standard_error: float


class Gaussian(NamedTuple):
    """A normal distribution fitted to features: mean (d,), and R (at most d, d), R^T R = covariance."""

    mean: Matrix
    factor: Matrix


def frechet_distance(features_a: AnyMatrix, features_b: AnyMatrix) -> float:
    """Fréchet distance between the Gaussians fitted to two feature sets (Heusel et al. 2017, eq. 6).

    Args:
        features_a, features_b: (n, d) and (m, d), at least two rows each.
    """
    return gaussian_distance(fit_gaussian(features_a), fit_gaussian(features_b))


def fit_gaussian(features: AnyMatrix) -> Gaussian:
    """Mean and unbiased covariance of (n, d) features, in float64; a set smaller than d is its own factor."""
    rows = _checked(features).astype(np.float64)
    mean: Matrix = rows.mean(axis=0)
    scaled: Matrix = (rows - mean) / np.sqrt(len(rows) - 1)
    if scaled.shape[0] > scaled.shape[1]:
        scaled = np.asarray(np.linalg.qr(scaled, mode="r"))
    return Gaussian(mean, scaled)


def gaussian_distance(a: Gaussian, b: Gaussian) -> float:
    """|mu_a - mu_b|^2 + tr(S_a) + tr(S_b) - 2 tr((S_a S_b)^(1/2)).

    The last trace is the nuclear norm of R_a R_b^T for any factors S = R^T R, so no matrix square root is
    taken, and no eigenvalue of a product that rounding makes complex or negative.
    """
    overlap = np.linalg.svd(a.factor @ b.factor.T, compute_uv=False).sum()
    spread = np.square(a.factor).sum() + np.square(b.factor).sum()
    return float(np.square(a.mean - b.mean).sum() + spread - 2 * overlap)


def kernel_distance(
    features_a: AnyMatrix,
    features_b: AnyMatrix,
    *,
    subset_size: int = 1000,
    n_subsets: int = 100,
    seed: int = 2020,
) -> KernelDistance:
    """Squared maximum mean discrepancy under k(x, y) = (x.y/d + 1)^3, unbiased (Binkowski et al. 2018).

    The mean over random subsets of min(subset_size, n, m) rows, drawn as torch-fidelity draws them, so equal
    seeds give equal means. The error is not the spread of the subsets, which share rows and shrink it: it is
    that of the rows themselves, from each row's mean influence (first-order term of the U-statistic).

    Args:
        features_a, features_b: (n, d) and (m, d), at least two rows each.
    """
    a, b = _checked(features_a), _checked(features_b)
    size = min(subset_size, len(a), len(b))
    if size == len(a) == len(b):
        n_subsets = 1  # every subset would be the whole
    kernel = _subset_kernel(a, b)
    random = np.random.RandomState(seed)
    influence_a, influence_b = _Influence(len(a)), _Influence(len(b))
    distances = []
    for _ in range(n_subsets):
        rows_a = random.choice(len(a), size, replace=False)
        rows_b = random.choice(len(b), size, replace=False)
        between = kernel("ab", rows_a, rows_b)
        of_a, of_b = kernel("aa", rows_a, rows_a), kernel("bb", rows_b, rows_b)
        distances.append(_unbiased_mmd(of_a, between, of_b))
        influence_a.add(rows_a, _means_of_others(of_a) - between.mean(axis=1))
        influence_b.add(rows_b, _means_of_others(of_b) - between.mean(axis=0))
    variance = influence_a.variance_of_mean() + influence_b.variance_of_mean()
    return KernelDistance(float(np.mean(distances)), float(np.sqrt(variance)))


class _Influence:
    """How far each row pulls a two-sample U-statistic, averaged over the subsets that held it."""

    def __init__(self, n_rows: int) -> None:
        self.total = np.zeros(n_rows)
        self.count = np.zeros(n_rows)

    def add(self, rows: Indices, pulls: Matrix) -> None:
        self.total[rows] += pulls
        self.count[rows] += 1

    def variance_of_mean(self) -> float:
        """Hoeffding's first-order variance: 4/n times the variance of one row's pull."""
        seen = self.count > 0
        pulls = self.total[seen] / self.count[seen]
        return float(4 * pulls.var(ddof=1) / len(self.total))


def _checked(features: AnyMatrix) -> AnyMatrix:
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features are (n >= 2, width), not {features.shape}")
    return features


def _subset_kernel(a: AnyMatrix, b: AnyMatrix) -> Callable[[Pair, Indices, Indices], Matrix]:
    """The kernel between chosen rows of two sets: looked up when the sets are small, else computed."""
    sets = {"a": a, "b": b}
    if max(len(a), len(b)) > MAX_ROWS_IN_MEMORY:
        return lambda pair, rows, columns: _cubic_kernel(sets[pair[0]][rows], sets[pair[1]][columns])
    whole = {pair: _cubic_kernel(sets[pair[0]], sets[pair[1]]) for pair in get_args(Pair)}
    return lambda pair, rows, columns: whole[pair][np.ix_(rows, columns)]


def _cubic_kernel(x: AnyMatrix, y: AnyMatrix) -> Matrix:
    """torchmetrics' (x.y/d + 1)^3, in float64: the distance is a small difference of large means."""
    kernel: Matrix = poly_kernel(torch.from_numpy(x).double(), torch.from_numpy(y).double()).numpy()
    return kernel


def _unbiased_mmd(of_a: Matrix, between: Matrix, of_b: Matrix) -> float:
    """torchmetrics' sum over the three kernels."""
    kernels = (torch.from_numpy(of_a), torch.from_numpy(between), torch.from_numpy(of_b))
    return float(maximum_mean_discrepancy(*kernels))


def _means_of_others(kernel: Matrix) -> Matrix:
    """Each row's mean over the other rows: the diagonal left out, as the unbiased estimate demands."""
    n = len(kernel)
    means: Matrix = (kernel.sum(axis=1) - np.diagonal(kernel)) / (n - 1)
    return means
