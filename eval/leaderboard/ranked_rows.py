"""Ranks and ties of a board's rows: only rows of one protocol on the same pictures are compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from eval.identity import identity
from eval.leaderboard.board import BoardRow, PairTest
from eval.metrics.registry import HEADLINE
from eval.statistics import Floats, bootstrap_weights, ratio_draws
from eval.statistics.ranking import competition_ranks, pair_p_values, rank_intervals, tie_letters

__all__ = ["Pairs", "rank_rows"]

Pairs = dict[tuple[str, str], PairTest]
"""By the ids of two settings, the one with the better EM first."""

_LEVEL = 0.05  # of the tests that tell rows apart, over all pairs of a group together


def rank_rows(
    rows: Sequence[BoardRow], frames: Mapping[tuple[str, str], pd.DataFrame]
) -> tuple[list[BoardRow], dict[str, Pairs]]:
    """Rows with ranks and tie letters, group by group, the group with the most pictures first.

    Args:
        frames: counts per picture (`text_scores`) by setting and protocol.

    Returns:
        The rows in order, and by protocol every pair of settings of a group.
    """
    groups: dict[str, list[BoardRow]] = defaultdict(list)
    for row in rows:
        groups[_group(row, frames[row.setting_id, row.protocol_id])].append(row)
    ordered: list[BoardRow] = []
    pairs: dict[str, Pairs] = defaultdict(dict)
    for members in sorted(groups.values(), key=lambda group: (-group[0].n_pictures[1], -len(group))):
        best_first = sorted(members, key=_order)
        ranked, tested = _rank_group(
            best_first, [frames[row.setting_id, row.protocol_id] for row in best_first]
        )
        ordered += ranked
        pairs[members[0].protocol_id] |= tested
    return ordered, pairs


def _group(row: BoardRow, frame: pd.DataFrame) -> str:
    cells = frame[["prompt_id", "seed", "txt"]].to_csv(index=False)
    return identity([row.protocol_id, cells])


def _order(row: BoardRow) -> tuple[float, float]:
    """Best EM first; where that is equal the smaller character error rate, else as they were made."""
    em, cer = row.scores[HEADLINE], row.scores["cer"]
    best = em.value if em.value is not None else -1.0
    return -best, cer.value if cer.value is not None else float("inf")


def _rank_group(rows: Sequence[BoardRow], frames: Sequence[pd.DataFrame]) -> tuple[list[BoardRow], Pairs]:
    if rows[0].scores[HEADLINE].value is None:
        return list(rows), {}
    means, right = _prompt_means(frames)
    p = pair_p_values(means, is_binary=len(right) == len(means))
    letters = tie_letters(len(rows), [pair for pair, value in p.items() if value < _LEVEL])
    ranks = competition_ranks([row.scores[HEADLINE].value or 0.0 for row in rows])
    draws = ratio_draws(means, np.ones(len(means))[:, None], bootstrap_weights(len(means)))
    ranked = [
        replace(row, rank=rank, tie=tie, rank_interval=span)
        for row, rank, tie, span in zip(rows, ranks, letters, rank_intervals(draws), strict=True)
    ]
    tests = {(rows[i].setting_id, rows[j].setting_id): _tested(i, j, p[i, j], right, draws) for i, j in p}
    return ranked, tests


def _tested(i: int, j: int, p: float, right: npt.NDArray[np.bool_], draws: Floats) -> PairTest:
    low, high = np.quantile(draws[:, j] - draws[:, i], [0.025, 0.975])
    first, second = right[:, i], right[:, j]
    n_both, n_first, n_second = ((first & second).sum(), (first & ~second).sum(), (second & ~first).sum())
    n_neither = len(right) - n_both - n_first - n_second
    return PairTest(p, float(low), float(high), int(n_both), int(n_first), int(n_second), int(n_neither))


def _prompt_means(frames: Sequence[pd.DataFrame]) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """EM of every prompt with text, (n_prompts, n_rows), and of every picture, (n_pictures, n_rows)."""
    with_text = [frame[frame["txt"].str.strip() != ""] for frame in frames]
    means = [frame.groupby("prompt_id", sort=True)[HEADLINE].mean() for frame in with_text]
    # The frames of a group hold the same pictures in the same order: it is what makes them a group.
    right = [frame[HEADLINE].to_numpy(bool) for frame in with_text]
    return np.stack([column.to_numpy(float) for column in means], axis=1), np.stack(right, axis=1)
