"""Distances between single pictures: precision and recall of a set, copies of training pictures, a floor."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eval.fidelity.distances import AnyMatrix

__all__ = ["Copies", "Nearest", "PrecisionRecall", "find_copies", "nearest", "precision_recall"]

ROWS_AT_ONCE = 2048
N_SHORTLISTED = 8
"""How many candidates beyond k the fast distance names; among them the exact one decides."""


class PrecisionRecall(NamedTuple):
    """Shares, and density, which may exceed 1."""

    precision: float
    recall: float
    density: float
    coverage: float


class Nearest(NamedTuple):
    """For each row: which rows of the other set are nearest, (n, k), and how far, nearest first."""

    which: npt.NDArray[np.int64]
    distance: npt.NDArray[np.float32]


class Copies(NamedTuple):
    """How near pictures lie to training pictures, on the scale of those pictures' own nearness."""

    relative_distance: float
    """Median distance to the nearest training picture over the same median among training pictures:
    about 1 for new pictures of the same kind, 0 when every picture is a copy."""
    n_copies: int
    """Pictures nearer to a training picture than 99 in 100 training pictures are to any other."""


def precision_recall(features: AnyMatrix, reference: AnyMatrix, k: int = 5) -> PrecisionRecall:
    """Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    A set's manifold is the union of balls around its rows that just reach the k-th nearest other row.
    Precision: generated pictures inside the real manifold; recall: the reverse. Density counts in how many
    real balls a picture lies (over k); coverage: real balls that hold at least one generated picture.

    Args:
        features: (n, d) of generated pictures, n > k.
        reference: (m, d) of real pictures, m > k.
    """
    if min(len(features), len(reference)) <= k:
        raise ValueError(f"more than k = {k} pictures are needed on both sides")
    ours, real = _tensor(features), _tensor(reference)
    radius_ours, radius_real = _radii(ours, k), _radii(real, k)
    in_real = torch.zeros(len(ours))
    hit_by_real = torch.zeros(len(real))
    covered = torch.zeros(len(real), dtype=torch.bool)
    for start in range(0, len(ours), ROWS_AT_ONCE):
        distance = _distances(ours[start : start + ROWS_AT_ONCE], real)
        inside = distance <= radius_real
        in_real[start : start + ROWS_AT_ONCE] = inside.sum(dim=1).float()
        covered |= inside.any(dim=0)
        hit_by_real += (distance <= radius_ours[start : start + ROWS_AT_ONCE, None]).sum(dim=0)
    return PrecisionRecall(
        precision=float((in_real > 0).float().mean()),
        recall=float((hit_by_real > 0).float().mean()),
        density=float(in_real.mean() / k),
        coverage=float(covered.float().mean()),
    )


def nearest(features: AnyMatrix, training: AnyMatrix, k: int = 1) -> Nearest:
    """The k nearest training pictures of each generated one: a distance near zero is a copy.

    Args:
        features: (n, d) of generated pictures.
        training: (m, d) of training pictures, m >= k.
    """
    ours, theirs = _tensor(features), _tensor(training)
    found = [_nearest(rows, theirs, k) for rows in _blocks(ours)]
    return Nearest(np.concatenate([which for which, _ in found]), np.concatenate([far for _, far in found]))


def find_copies(features: AnyMatrix, training: AnyMatrix, seed: int = 0) -> Copies:
    """Compare how near pictures come to training pictures with how near those come to one another.

    The scale is taken from at most 2,000 training pictures, each against all others.

    Args:
        features: (n, d) of generated pictures.
        training: (m, d) of training pictures, m > 1.
    """
    sample = training
    if len(training) > ROWS_AT_ONCE:
        sample = training[np.random.default_rng(seed).choice(len(training), 2000, replace=False)]
    among = nearest(sample, training, k=2).distance[:, 1]  # the nearest of all is the picture itself
    ours = nearest(features, training).distance[:, 0]
    usual = float(np.median(among))
    relative = float(np.median(ours)) / usual if usual > 0 else float(np.median(ours) > 0)
    return Copies(relative, int((ours < np.quantile(among, 0.01)).sum()))


def _tensor(features: AnyMatrix) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))


def _blocks(rows: Tensor) -> tuple[Tensor, ...]:
    return torch.split(rows, ROWS_AT_ONCE)


def _nearest(rows: Tensor, others: Tensor, k: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Exact distances in a shortlist: the fast way over products makes a row and its copy differ."""
    n_listed = min(k + N_SHORTLISTED, len(others))
    listed = torch.cdist(rows, others).topk(n_listed, largest=False).indices
    exact = torch.stack([(row - others[some]).norm(dim=1) for row, some in zip(rows, listed, strict=True)])
    order = exact.argsort(dim=1, stable=True)[:, :k]
    return listed.gather(1, order).numpy(), exact.gather(1, order).numpy()


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # Over products, a hundred times faster than differences; in float64 the detour costs no digit.
    return torch.cdist(a.double(), b.double())


def _radii(rows: Tensor, k: int) -> Tensor:
    """Distance of each row to its k-th nearest other row, (n,)."""
    return torch.cat([_distances(part, rows).kthvalue(k + 1).values for part in _blocks(rows)])
