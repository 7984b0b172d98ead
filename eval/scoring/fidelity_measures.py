"""Features against reference features: each measure with its interval, and whether it may order rows.

`eval.fidelity` brings torch and torchmetrics, ten seconds of a processor; it is imported where something is
measured, which scores that the store holds already are not.
"""

from __future__ import annotations

import numpy as np

from eval.metrics.score import Score
from eval.statistics import wilson
from eval.store.features import Features

__all__ = [
    "FIDELITY_METRICS",
    "KID_MIN_PICTURES",
    "MEASURES_VERSION",
    "PRECISION_MIN_PICTURES",
    "distance_score",
    "fidelity_scores",
    "unscored",
]

MEASURES_VERSION = 1
"""Raised whenever a change here could change a score of the same features."""

FIDELITY_METRICS = (
    "fid_clean",
    "fid_inf",
    "fid_inf_r2",
    "kid",
    "precision",
    "recall",
    "density",
    "coverage",
    "nn_distance",
    "copy_rate",
)

KID_MIN_PICTURES = 250
"""KID is unbiased at any n; below this its standard error is as large as what settings differ by."""
PRECISION_MIN_PICTURES = 1000
"""With fewer, the balls that stand for a set's manifold are too wide to miss anything."""

_K = 5
_A_CHECK = (
    "a check for copies, no contest: new pictures of the same kind score about 1 (distance) and 1 % (share)"
)


def fidelity_scores(ours: Features, real: Features, n_expected: int) -> dict[str, Score]:
    """All measures of one setting over Inception features.

    Args:
        ours: (n, d) of generated pictures.
        real: (m, d) of reference pictures.
        n_expected: pictures there should be; missing ones keep a score from ordering rows.
    """
    from eval.fidelity import kernel_distance

    n, n_real = len(ours), len(real)
    if min(n, n_real) < 2:
        reason = f"{n} pictures against {n_real}: at least 2 are needed"
        return unscored(FIDELITY_METRICS, reason, n_expected)
    kid = kernel_distance(ours, real)
    spread = 1.96 * kid.standard_error
    kid_score = Score(1000 * kid.mean, 1000 * (kid.mean - spread), 1000 * (kid.mean + spread), n, n_expected)
    scores = {
        "fid_clean": distance_score(ours, real, n_expected),
        "kid": _with_n(kid_score, n_real, KID_MIN_PICTURES),
    }
    scores |= _infinity(ours, real, n_expected) | _manifolds(ours, real, n_expected)
    scores |= _copies(ours, real, n_expected)
    return {metric: scores[metric] for metric in FIDELITY_METRICS}


def distance_score(ours: Features, real: Features, n_expected: int) -> Score:
    """Fréchet distance; it orders rows from 2,048 pictures on both sides, or as many as features are wide."""
    from eval.fidelity import FID_MIN_PICTURES, frechet_distance

    if min(len(ours), len(real)) < 2:
        reason = f"{len(ours)} pictures against {len(real)}: at least 2 are needed"
        return Score(None, n_expected=n_expected, reason=reason, ranked=False)
    score = Score(frechet_distance(ours, real), n=len(ours), n_expected=n_expected)
    needed = max(FID_MIN_PICTURES, ours.shape[1])
    return _with_n(score, len(real), needed, "biased: ")


def unscored(metrics: tuple[str, ...], reason: str, n_expected: int) -> dict[str, Score]:
    """Scores without values, all for the same reason."""
    return dict.fromkeys(metrics, Score(None, n_expected=n_expected, reason=reason, ranked=False))


def _infinity(ours: Features, real: Features, n_expected: int) -> dict[str, Score]:
    """FID at endless pictures with 1.96 standard errors of the line's end, and how well the line fits."""
    from eval.fidelity import FID_MIN_PICTURES, fid_infinity

    found = fid_infinity(ours, real)
    if found.value is None or found.standard_error is None:
        none = Score(None, n_expected=n_expected, reason=found.reason, ranked=False)
        fit = none if found.r_squared is None else _fit(found.r_squared, len(ours), n_expected)
        return {"fid_inf": none, "fid_inf_r2": fit}
    spread = 1.96 * found.standard_error
    score = Score(found.value, found.value - spread, found.value + spread, len(ours), n_expected)
    return {
        "fid_inf": _with_n(score, len(real), FID_MIN_PICTURES),
        "fid_inf_r2": _fit(found.r_squared or 0.0, len(ours), n_expected),
    }


def _fit(r_squared: float, n: int, n_expected: int) -> Score:
    return Score(
        r_squared, n=n, n_expected=n_expected, reason="says how far FID∞ can be trusted", ranked=False
    )


def _manifolds(ours: Features, real: Features, n_expected: int) -> dict[str, Score]:
    """Precision, recall, density and coverage against as many reference pictures as there are ours."""
    from eval.fidelity import precision_recall

    n = len(ours)
    drawn = real
    if len(real) > n:
        drawn = real[np.sort(np.random.default_rng(0).choice(len(real), n, replace=False))]
    if min(n, len(drawn)) <= _K:
        return unscored(
            ("precision", "recall", "density", "coverage"), f"more than {_K} pictures are needed", n_expected
        )
    found = precision_recall(ours, drawn, _K)
    shares = {
        "precision": (found.precision, n),
        "recall": (found.recall, len(drawn)),
        "coverage": (found.coverage, len(drawn)),
    }
    scores = {}
    for metric, (share, of) in shares.items():
        low, high = wilson(share * of, of)
        scores[metric] = Score(share, low, high, n, n_expected)
    scores["density"] = Score(found.density, n=n, n_expected=n_expected)
    return {metric: _with_n(score, len(drawn), PRECISION_MIN_PICTURES) for metric, score in scores.items()}


def _copies(ours: Features, real: Features, n_expected: int) -> dict[str, Score]:
    from eval.fidelity import find_copies

    n = len(ours)
    found = find_copies(ours, real)
    low, high = wilson(found.n_copies, n)
    distance = Score(found.relative_distance, n=n, n_expected=n_expected, reason=_A_CHECK, ranked=False)
    share = Score(found.n_copies / n, low, high, n, n_expected, _A_CHECK, ranked=False)
    return {"nn_distance": distance, "copy_rate": share}


def _with_n(score: Score, n_real: int, n_needed: int, fault: str = "") -> Score:
    """Shown, but not ranked, where too few pictures make the value mostly bias or mostly noise."""
    reason = None
    if min(score.n, n_real) < n_needed:
        reason = f"{fault}n = {score.n} against {n_real} pictures; orders rows from {n_needed} on both sides"
    elif score.n < score.n_expected:
        reason = f"{score.n_expected - score.n} of {score.n_expected} pictures are missing"
    return Score(score.value, score.low, score.high, score.n, score.n_expected, reason, reason is None)
