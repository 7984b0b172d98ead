"""Stored / original size of a picture that somebody has enlarged, found in its pixels."""

from __future__ import annotations

import numpy as np

__all__ = ["ESTIMATOR", "estimate_px_scale"]

ESTIMATOR = "regrow-1"


def estimate_px_scale(picture: np.ndarray) -> tuple[float, float] | None:
    return None
