"""What the reader itself can and cannot read, and scores that take it into account.

Se, the ceiling: how often typeset targets are read right. Fp, the floor: how often a target is read from a
picture that shows it with one error, which a reader with a language model would "correct".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from eval.calibration.typesetter import N_RENDERS
from eval.metrics.score import Score
from eval.statistics import Floats, bootstrap_weights, mean_interval

__all__ = ["CALIBRATED_METRICS", "Calibration", "calibrated_scores"]

CALIBRATED_METRICS = ("em_rel", "em_star", "em_certified")

_MIN_RANGE = 0.3  # below it the correction divides noise by almost nothing
_MIN_CERTIFIED = N_RENDERS - 1


@dataclass(frozen=True)
class Calibration:
    """Counts per picture of the typeset targets, and of the targets with an error, under one protocol."""

    ceiling: pd.DataFrame
    trap: pd.DataFrame


def calibrated_scores(counts: pd.DataFrame, calibration: Calibration) -> dict[str, Score]:
    """EM relative to the ceiling, EM corrected for both faults of the reader, EM on certified prompts.

    relative = EM / Se; corrected = (EM - Fp) / (Se - Fp), clipped to 0..1 (Rogan and Gladen 1978), over the
    prompts that were calibrated; intervals resample prompts, pictures and renders together.

    Args:
        counts: rows of `text_scores` of one setting.
    """
    em, se, fp = (_prompt_means(frame) for frame in (counts, calibration.ceiling, calibration.trap))
    common = em.index.intersection(se.index).intersection(fp.index)
    if common.empty:
        missing = Score(None, reason="the reader was not calibrated on these prompts", ranked=False)
        return dict.fromkeys(CALIBRATED_METRICS, missing)
    means = np.stack([column.loc[common].to_numpy(float) for column in (em, se, fp)], axis=1)
    draws = bootstrap_weights(len(common)) @ means / len(common)
    n = _n_read(counts[counts["prompt_id"].isin(common)])
    return {
        "em_rel": _relative(means.mean(axis=0), draws, n),
        "em_star": _corrected(means.mean(axis=0), draws, n),
        "em_certified": _certified(counts, common[se.loc[common] >= _MIN_CERTIFIED / N_RENDERS]),
    }


def _prompt_means(frame: pd.DataFrame) -> pd.Series[float]:
    return frame[frame["n_target"] > 0].groupby("prompt_id", sort=True)["em_ci"].mean()


def _n_read(counts: pd.DataFrame) -> tuple[int, int]:
    """How many pictures were read, of how many."""
    return int(counts["reading"].notna().sum()), len(counts)


def _relative(means: Floats, draws: Floats, n: tuple[int, int]) -> Score:
    if means[1] == 0:
        reason = "the reader reads none of the typeset texts"
        return Score(None, n=n[0], n_expected=n[1], reason=reason, ranked=False)
    return _with_interval(means[0] / means[1], draws[:, 0] / np.maximum(draws[:, 1], 1e-9), n)


def _corrected(means: Floats, draws: Floats, n: tuple[int, int]) -> Score:
    if means[1] - means[2] < _MIN_RANGE:
        reason = f"ceiling {means[1]:.2f} and floor {means[2]:.2f} of the reader are too close"
        return Score(None, n=n[0], n_expected=n[1], reason=reason, ranked=False)
    value = (means[0] - means[2]) / (means[1] - means[2])
    resampled = (draws[:, 0] - draws[:, 2]) / np.maximum(draws[:, 1] - draws[:, 2], 1e-9)
    return _with_interval(float(np.clip(value, 0, 1)), np.clip(resampled, 0, 1), n)


def _certified(counts: pd.DataFrame, prompts: pd.Index) -> Score:
    chosen = counts[counts["prompt_id"].isin(prompts)]
    if chosen.empty:
        reason = f"the reader reads no prompt right in {_MIN_CERTIFIED} of {N_RENDERS} renders"
        return Score(None, reason=reason, ranked=False)
    codes, names = pd.factorize(chosen["prompt_id"], sort=True)
    values = chosen["em_ci"].to_numpy(float)
    interval = mean_interval(values, codes.astype(np.int64), bootstrap_weights(len(names)))
    low, high = interval if interval is not None else (None, None)
    return Score(float(values.mean()), low, high, *_n_read(chosen))


def _with_interval(value: float, draws: Floats, n: tuple[int, int]) -> Score:
    low, high = np.quantile(draws, [0.025, 0.975])
    if low == high:
        return Score(float(value), n=n[0], n_expected=n[1])
    return Score(float(value), float(low), float(high), *n)
