"""Counts per picture -> one score per metric, with the interval over prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from eval.metrics.prompts import score_prompts
from eval.metrics.registry import TEXT_METRICS, TextMetric
from eval.metrics.score import Score
from eval.statistics import Floats, bootstrap_weights, cluster_sums, draws_interval, wilson_of_mean
from eval.text_metrics.normalisers import Normaliser

__all__ = ["score_texts"]

_NO_PICTURES = {
    "text": "no prompt of this suite asks for text",
    "empty": "no prompt of this suite has an empty text",
}


@dataclass(frozen=True)
class _Population:
    """The pictures that metrics are over, and the prompt each belongs to."""

    frame: pd.DataFrame
    prompts: npt.NDArray[np.int64]
    n_prompts: int


def score_texts(counts: pd.DataFrame, normaliser: Normaliser = "ci") -> dict[str, Score]:
    """Every text metric of one setting.

    Args:
        counts: rows of `text_scores` of one setting and protocol, with `txt` of the prompt; a missing
            picture is a row whose `reading` is None.
    """
    is_empty = counts["txt"].str.strip() == ""
    with_text = counts[~is_empty]
    found = _score_population("text", with_text) | _score_population("empty", counts[is_empty])
    scores = {metric.info.id: found[metric.info.id] for metric in TEXT_METRICS}
    return scores if with_text.empty else scores | score_prompts(with_text, scores, normaliser)


def _score_population(kind: Literal["text", "empty"], frame: pd.DataFrame) -> dict[str, Score]:
    """Each metric of a population with its 95 % interval, or the reason why there is none."""
    metrics = [metric for metric in TEXT_METRICS if metric.population == kind]
    if frame.empty:
        return {metric.info.id: Score(None, reason=_NO_PICTURES[kind], ranked=False) for metric in metrics}
    prompts, names = pd.factorize(frame["prompt_id"], sort=True)
    population = _Population(frame, prompts.astype(np.int64), len(names))
    quotients = [_quotient(metric, frame) for metric in metrics]
    # All resamples of all metrics in one product: a product for each reads the weights once for each.
    sums = np.stack(
        [
            cluster_sums(column, population.prompts, population.n_prompts)
            for pair in quotients
            for column in pair
        ],
        axis=1,
    )
    drawn = bootstrap_weights(population.n_prompts) @ sums
    return {
        metric.info.id: _score(metric, population, quotient, drawn[:, 2 * i], drawn[:, 2 * i + 1])
        for i, (metric, quotient) in enumerate(zip(metrics, quotients, strict=True))
    }


def _quotient(metric: TextMetric, frame: pd.DataFrame) -> tuple[Floats, Floats]:
    above = np.asarray(metric.above(frame), dtype=np.float64)
    below = np.ones(len(frame)) if metric.below is None else np.asarray(metric.below(frame), dtype=np.float64)
    return above, below


def _score(
    metric: TextMetric,
    population: _Population,
    quotient: tuple[Floats, Floats],
    drawn_above: Floats,
    drawn_below: Floats,
) -> Score:
    frame, (above, below) = population.frame, quotient
    n_expected, n = len(frame), int(frame["reading"].notna().sum())
    if not below.sum():
        reason = "nothing to divide by: " + metric.info.description
        return Score(None, n=n, n_expected=n_expected, reason=reason)
    interval = wilson_of_mean(above, population.n_prompts) if metric.below is None else None
    if interval is None:
        with np.errstate(invalid="ignore", divide="ignore"):
            interval = draws_interval(drawn_above / drawn_below)
    low, high = interval if interval is not None else (None, None)
    return Score(float(above.sum() / below.sum()), low, high, n, n_expected)
