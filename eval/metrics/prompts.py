"""Text scores that are no quotient of sums: best of k, NED by chance, and how long a text may be."""

from __future__ import annotations

from functools import partial
from math import comb, log

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from eval.metrics.score import Score
from eval.statistics import Floats, bootstrap_weights, cluster_sums, ratio_interval, wilson
from eval.text_metrics.normalisers import Normaliser, flat, graphemes

__all__ = ["em_at_k", "score_prompts"]

KS = (4, 8)
_FITTED = "the parameter of a curve, without an interval: it orders nothing"
_N_SHIFTS = 4


def score_prompts(frame: pd.DataFrame, scores: dict[str, Score], normaliser: Normaliser) -> dict[str, Score]:
    """Scores over prompts of one setting.

    Args:
        frame: counts of the pictures whose target has text, with `txt` and `reading`.
        scores: the setting's other scores; NED is corrected for chance.
    """
    prompts = pd.factorize(frame["prompt_id"], sort=True)[0].astype(np.int64)
    found = _em_at_ks(frame, prompts)
    found |= _against_chance(frame, prompts, scores["ned"], normaliser)
    return found | _capacity(frame)


def em_at_k(n: int, n_right: int, k: int) -> float:
    """Chance that k of n pictures hold a right one: 1 - C(n-c, k) / C(n, k) (Chen et al. 2021, eq. 1)."""
    return 1 - comb(n - n_right, k) / comb(n, k)


def _em_at_ks(frame: pd.DataFrame, prompts: npt.NDArray[np.int64]) -> dict[str, Score]:
    columns = (np.ones(len(frame)), frame["em_ci"], frame["reading"].notna())
    n_prompts = int(prompts.max()) + 1
    sums = np.stack([cluster_sums(column, prompts, n_prompts) for column in columns], axis=1)
    return {f"em_at_{k}": _em_at(sums.astype(np.int64), k) for k in KS}


def _em_at(prompts: npt.NDArray[np.int64], k: int) -> Score:
    """EM@k of prompts, (n_prompts, 3): pictures, those that are right, those that were read."""
    enough = prompts[prompts[:, 0] >= k]
    if not len(enough):
        return Score(None, reason=f"no prompt has {k} pictures", ranked=False)
    values = np.array([em_at_k(n, c, k) for n, c, _ in enough.tolist()])
    n, n_expected = int(enough[:, 2].sum()), int(enough[:, 0].sum())
    if values.mean() in (0.0, 1.0):
        interval = wilson(float(values.sum()), len(values))
    else:
        found = ratio_interval(values, np.ones(len(values)), bootstrap_weights(len(values)))
        if found is None:
            return Score(float(values.mean()), n=n, n_expected=n_expected)
        interval = found
    return Score(float(values.mean()), interval.low, interval.high, n, n_expected)


def _against_chance(
    frame: pd.DataFrame, prompts: npt.NDArray[np.int64], own: Score, normaliser: Normaliser
) -> dict[str, Score]:
    """NED of readings with the targets of other prompts, and NED corrected for it."""
    firsts = np.unique(prompts, return_index=True)[1]
    if len(firsts) < 2 or own.value is None:
        missing = Score(None, reason="needs two prompts with text", ranked=False)
        return {"ned_chance": missing, "ned_adj": missing}
    targets = _characters(frame["txt"].iloc[firsts], normaliser)
    readings = _characters(frame["reading"], normaliser)
    # Whole turns of the list of prompts: every mismatch is with another prompt, and nothing is drawn.
    shifts = sorted({1 + i * (len(targets) - 1) // _N_SHIFTS for i in range(_N_SHIFTS)})
    turned = [[targets[i] for i in ((prompts + shift) % len(targets)).tolist()] for shift in shifts]
    similarity = Levenshtein.normalized_similarity
    values = [process.cpdist(others, readings, scorer=similarity, dtype=np.float64) for others in turned]
    chance = float(np.mean(values))
    by_chance = Score(chance, n=own.n, n_expected=own.n_expected)
    if chance == 1:
        return {"ned_chance": by_chance, "ned_adj": Score(None, reason="chance is 1")}
    low, high = (None if end is None else (end - chance) / (1 - chance) for end in (own.low, own.high))
    adjusted = Score((own.value - chance) / (1 - chance), low, high, own.n, own.n_expected)
    return {"ned_chance": by_chance, "ned_adj": adjusted}


def _characters(texts: pd.Series[str], normaliser: Normaliser) -> list[str | list[str]]:
    """Grapheme clusters of each text; none where there is no text."""
    return ["" if text is None else graphemes(flat(text, normaliser)) for text in pa.array(texts).to_pylist()]


def _capacity(frame: pd.DataFrame) -> dict[str, Score]:
    """p_char: p of EM = p^length. length_50: where a logistic curve of EM over length crosses one half."""
    frame = frame[frame["n_target"] > 0]  # a text that the normaliser leaves nothing of has no length
    lengths, right = frame["n_target"].to_numpy(float), frame["em_ci"].to_numpy(float)
    n, n_expected = int(frame["reading"].notna().sum()), len(frame)
    if len({*right}) < 2:
        reason = "EM is the same for every picture"
        missing = Score(None, n=n, n_expected=n_expected, reason=reason, ranked=False)
        return {"p_char": missing, "length_50": missing}
    from scipy.optimize import minimize, minimize_scalar  # half a second, where there is a curve to fit

    p_char = minimize_scalar(_power_loss, bounds=(1e-6, 1 - 1e-9), args=(lengths, right), method="bounded").x
    middle, spread = lengths.mean(), max(lengths.std(), 1e-9)
    start = np.array([log(right.mean() / (1 - right.mean())), 0.0])
    level, slope = minimize(_logistic_loss, start, args=((lengths - middle) / spread, right)).x
    crossing = middle - spread * level / slope if slope < -1e-3 else np.nan
    inside = lengths.min() <= crossing <= lengths.max()
    reason = "EM does not cross one half within the lengths that were asked for"
    fitted = partial(Score, n=n, n_expected=n_expected, reason=_FITTED, ranked=False)
    return {
        "p_char": fitted(float(p_char)),
        "length_50": fitted(float(crossing)) if inside else Score(None, reason=reason, ranked=False),
    }


def _power_loss(p: float, lengths: Floats, right: Floats) -> float:
    """Negative log likelihood of EM = p^length."""
    log_right = lengths * log(p)
    return float(-(right * log_right + (1 - right) * np.log1p(-np.exp(log_right))).sum())


def _logistic_loss(
    parameters: npt.NDArray[np.float64], x: npt.NDArray[np.float64], right: npt.NDArray[np.float64]
) -> float:
    """Negative log likelihood of a logistic curve, with a whisper of ridge against separated data."""
    logits = parameters[0] + parameters[1] * x
    return float((np.logaddexp(0, logits) - right * logits).sum() + 1e-3 * parameters[1] ** 2)
