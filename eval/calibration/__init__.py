"""What the reader itself can and cannot read: on typeset text, and as people judge it."""

from __future__ import annotations

from eval.calibration.rates import CALIBRATED_METRICS, Calibration, calibrated_scores

__all__ = ["CALIBRATED_METRICS", "Calibration", "calibrated_scores"]
