"""Counts per picture -> one score per metric, with the interval over prompts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from eval.board import Score
from eval.metrics import TEXT_METRICS, TextMetric
from eval.normalise import Normaliser
from eval.prompt_scores import score_prompts
from eval.statistics import bootstrap_weights, cluster_sums, mean_interval, ratio_interval

__all__ = ["score_text_metric", "score_texts"]

_NO_PICTURES = {
    "text": "no prompt of this suite asks for text",
    "empty": "no prompt of this suite has an empty text",
}


@dataclass(frozen=True)
class _Population:
    """The pictures a metric is over, and the prompt each belongs to."""

    frame: pd.DataFrame
    prompts: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]


def score_texts(counts: pd.DataFrame, normaliser: Normaliser = "ci") -> dict[str, Score]:
    """Every text metric of one setting.

    Args:
        counts: rows of `text_scores` of one setting and protocol, with `txt` of the prompt; a missing
            picture is a row whose `reading` is None.
    """
    is_empty = counts["txt"].str.strip() == ""
    with_text = counts[~is_empty]
    populations = {"text": _population(with_text), "empty": _population(counts[is_empty])}
    scores = {
        metric.info.id: score_text_metric(metric, populations[metric.population]) for metric in TEXT_METRICS
    }
    return scores if with_text.empty else scores | score_prompts(with_text, scores, normaliser)


def score_text_metric(metric: TextMetric, population: _Population | None) -> Score:
    """One metric with its 95 % interval, or the reason why there is none."""
    if population is None:
        return Score(None, reason=_NO_PICTURES[metric.population], ranked=False)
    frame, prompts, weights = population.frame, population.prompts, population.weights
    n_expected, n = len(frame), int(frame["reading"].notna().sum())
    above = np.asarray(metric.above(frame), dtype=np.float64)
    if metric.below is None:
        interval = mean_interval(above, prompts, weights)
        value = float(above.mean())
    else:
        below = np.asarray(metric.below(frame), dtype=np.float64)
        if not below.sum():
            return Score(
                None, n=n, n_expected=n_expected, reason="nothing to divide by: " + metric.info.description
            )
        n_prompts = weights.shape[1]
        sums = [cluster_sums(column, prompts, n_prompts) for column in (above, below)]
        value, interval = float(above.sum() / below.sum()), ratio_interval(sums[0], sums[1], weights)
    low, high = interval if interval is not None else (None, None)
    return Score(value, low, high, n, n_expected)


def _population(frame: pd.DataFrame) -> _Population | None:
    if frame.empty:
        return None
    prompts, names = pd.factorize(frame["prompt_id"], sort=True)
    return _Population(frame, prompts.astype(np.int64), bootstrap_weights(len(names)))
