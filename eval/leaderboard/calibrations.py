"""Calibrations of the store, and the rows of the board that they apply to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from eval.calibration import CALIBRATED_METRICS, Calibration, calibrated_scores
from eval.leaderboard.board import BoardRow
from eval.metrics.score import Score
from eval.store import Store
from eval.store.counts import load_counts

__all__ = ["Calibrations", "calibrated_row", "ceiling_counts", "load_calibrations"]

Calibrations = Mapping[tuple[str, str, int], Calibration]
"""By protocol, suite and edge of the pictures in pixels."""

_UNCALIBRATED = Score(None, reason="not calibrated: txtdiff-eval calibrate --store FILE", ranked=False)


def load_calibrations(store: Store, protocol_ids: Sequence[str]) -> Calibrations:
    """Every calibration of a reader that has both its halves; not what upsamplers did to typeset text."""
    settings = [
        (setting_id, json.loads(spec))
        for setting_id, spec in store.rows(
            """SELECT setting_id, spec FROM settings WHERE spec->>'$.generator' = 'typeset'
               AND spec->>'$.role' IN ('ceiling', 'trap') ORDER BY position"""
        )
    ]
    found = {}
    for protocol_id in protocol_ids:
        halves: dict[tuple[str, int], dict[str, pd.DataFrame]] = {}
        for setting_id, spec in settings:
            counts = load_counts(store, [setting_id], protocol_id)
            if not counts.empty:
                halves.setdefault((spec["suite"], spec["size_px"]), {})[spec["role"]] = counts
        for (suite_id, size_px), half in halves.items():
            if half.keys() == {"ceiling", "trap"}:
                found[protocol_id, suite_id, size_px] = Calibration(half["ceiling"], half["trap"])
    return found


def calibrated_row(row: BoardRow, counts: pd.DataFrame, calibrations: Calibrations) -> BoardRow:
    """The row with its scores relative to the reader's ceiling, or the reason why there are none."""
    calibration = _of(row, calibrations)
    if calibration is None:
        return replace(row, scores=row.scores | dict.fromkeys(CALIBRATED_METRICS, _UNCALIBRATED))
    scores = calibrated_scores(counts, calibration)
    return replace(row, scores=row.scores | scores, ceiling_id=_id_of(calibration))


def ceiling_counts(rows: Iterable[BoardRow], calibrations: Calibrations) -> list[pd.DataFrame]:
    """Counts of the typeset targets that belong to these rows, one frame for each `ceiling_id`."""
    found = {row.ceiling_id: _of(row, calibrations) for row in rows}
    return [calibration.ceiling for calibration in found.values() if calibration is not None]


def _id_of(calibration: Calibration) -> str:
    return str(calibration.ceiling["setting_id"].iloc[0])


def _of(row: BoardRow, calibrations: Calibrations) -> Calibration | None:
    return calibrations.get((row.protocol_id, row.suite_id, row.size_px or 0))
