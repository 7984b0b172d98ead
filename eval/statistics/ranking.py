"""Who is ahead of whom: rank intervals over the whole table, letters for rows that cannot be told apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np

from eval.statistics.intervals import Floats
from eval.statistics.paired import holm, mcnemar_midp, sign_flip_p

__all__ = ["competition_ranks", "pair_p_values", "rank_intervals", "tie_letters"]


def competition_ranks(values: Sequence[float]) -> list[int]:
    """Rank of each value, largest first, equal values equal: 1, 2, 2, 4."""
    return [1 + sum(other > value for other in values) for value in values]


def rank_intervals(draws: Floats) -> list[tuple[int, int]]:
    """95 % interval of every column's rank, from jointly resampled scores (n_draws, K), larger is better."""
    ranks = np.array([1 + (draws > column[:, None]).sum(axis=1) for column in draws.T])
    bounds = np.quantile(ranks, [0.025, 0.975], axis=1, method="inverted_cdf")
    return [(int(low), int(high)) for low, high in bounds.T]


def pair_p_values(means: Floats, is_binary: bool) -> dict[tuple[int, int], float]:
    """Holm-adjusted p of every pair of columns of `means` (n_prompts, K), paired by prompt.

    McNemar mid-p when every prompt has one picture that is right or wrong, else sign flips of prompt means.
    """
    pairs = list(combinations(range(means.shape[1]), 2))
    if not pairs:
        return {}
    differences = np.stack([means[:, i] - means[:, j] for i, j in pairs], axis=1)
    if is_binary:
        p = [mcnemar_midp(int((d > 0).sum()), int((d < 0).sum())) for d in differences.T]
    else:
        p = list(sign_flip_p(differences))
    return dict(zip(pairs, holm(p).tolist(), strict=True))


def tie_letters(n: int, different: Iterable[tuple[int, int]]) -> list[str]:
    """Compact letter display: two rows share a letter if and only if they are not told apart.

    Insert and absorb (Piepho 2004). Rows are given best first, so the best row is always in "a".

    Args:
        n: number of rows.
        different: pairs of rows that a test told apart.
    """
    groups = [frozenset(range(n))] if n else []
    for i, j in different:
        split = [part for group in groups for part in _split(group, i, j)]
        groups = [group for group in set(split) if not any(group < other for other in split)]
    letters = [""] * n
    for number, group in enumerate(sorted(groups, key=sorted)):
        for row in sorted(group):
            letters[row] += _letter(number)
    return letters


def _split(group: frozenset[int], i: int, j: int) -> list[frozenset[int]]:
    return [group - {i}, group - {j}] if i in group and j in group else [group]


def _letter(number: int) -> str:
    # After z come A to Z, then letters with a prime: one character more, still one group.
    alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return alphabet[number % 52] + "'" * (number // 52)
