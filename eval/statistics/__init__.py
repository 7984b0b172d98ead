"""How sure a number is, whether a difference is more than chance, and who is ahead of whom."""

from __future__ import annotations

from eval.statistics.intervals import (
    Floats,
    Interval,
    bootstrap_weights,
    cluster_sums,
    draws_interval,
    mean_interval,
    ratio_draws,
    ratio_interval,
    wilson,
    wilson_of_mean,
)
from eval.statistics.paired import holm, mcnemar_midp, sign_flip_p

__all__ = [
    "Floats",
    "Interval",
    "bootstrap_weights",
    "cluster_sums",
    "draws_interval",
    "holm",
    "mcnemar_midp",
    "mean_interval",
    "ratio_draws",
    "ratio_interval",
    "sign_flip_p",
    "wilson",
    "wilson_of_mean",
]
