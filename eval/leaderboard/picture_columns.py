"""Columns that need a yardstick besides the reader, as fidelity: what is ranked together, and floors."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from eval.leaderboard.board import BoardRow
from eval.metrics.registry import FIDELITY_INFOS, PICTURE_METRICS, SEEN_METRICS
from eval.metrics.score import Score
from eval.metrics.seen_words import vocabulary_ids
from eval.store import Store
from eval.store.labels import distinct_labels
from eval.store.real_rows import REAL

__all__ = ["load_floors", "lock_columns", "measure_specs", "picture_protocols"]

Protocols = Mapping[tuple[str, str], str]
"""The protocol id of each (setting, metric)."""


def picture_protocols(store: Store) -> Protocols:
    """Under which protocol each column of each setting was measured; there is one of each in a store."""
    rows = store.rows(
        "SELECT setting_id, metric, protocol_id FROM scores WHERE metric IN (SELECT unnest(?))",
        [[info.id for info in PICTURE_METRICS]],
    )
    by_words = {
        (setting_id, info.id): vocabulary_id
        for setting_id, vocabulary_id in vocabulary_ids(store).items()
        for info in SEEN_METRICS
    }
    return {(setting_id, metric): protocol_id for setting_id, metric, protocol_id in rows} | by_words


def lock_columns(rows: Sequence[BoardRow], protocols: Protocols) -> list[BoardRow]:
    """Let a column order only rows with one protocol and one number of pictures: those that are most.

    FID falls with n, and another reference or network is another yardstick: the others are shown unranked.
    """
    locked = list(rows)
    for info in (*SEEN_METRICS, *PICTURE_METRICS):
        keys = [_key(row, info.id, protocols) for row in locked]
        counts = Counter(key for key in keys if key is not None)
        if len(counts) < 2:
            continue
        most = max(counts, key=lambda key: counts[key])  # the first of equals: rows come best first
        locked = [
            row if key is None or key == most else _unranked(row, info.id, key, most)
            for row, key in zip(locked, keys, strict=True)
        ]
    return locked


def load_floors(store: Store, rows: Sequence[BoardRow]) -> list[BoardRow]:
    """The rows of real pictures that belong to these rows: the same protocol and the same n."""
    protocols = picture_protocols(store)
    wanted = {
        (protocols.get((row.setting_id, info.id)), row.n_pictures[0])
        for row in rows
        for info in FIDELITY_INFOS
    }
    settings = store.rows(
        """SELECT setting_id, spec, suite_id FROM settings WHERE spec->>'$.generator' = ?
           ORDER BY CAST(spec->>'$.n' AS INTEGER), setting_id""",
        [REAL],
    )
    floors, labels = [], distinct_labels(store)
    for setting_id, packed, suite_id in settings:
        spec = json.loads(packed)
        scores = _scores(store, setting_id)
        known = {(protocols.get((setting_id, metric)), spec["n"]) for metric in scores}
        missing = all(score.value is None for score in scores.values())
        if known & wanted or (missing and any(n == spec["n"] for _, n in wanted)):
            about: dict[str, Any] = {"suite_id": suite_id, "size_px": spec["size_px"]}
            protocol_id = protocols.get((setting_id, "fid_clean"), "")
            row = BoardRow(setting_id, labels[setting_id], spec, scores, None, "", protocol_id, **about)
            floors.append(replace(row, n_pictures=(spec["n"], spec["n"])))
    return floors


def measure_specs(store: Store) -> dict[str, Any]:
    """What the protocols of pictures' columns are: network, preparation, weights, reference."""
    tables = store.rows("SELECT table_name FROM duckdb_tables() WHERE table_name = 'measured'")
    if not tables:  # written before there was one
        return {}
    rows = store.rows(
        """SELECT DISTINCT protocol_id, spec FROM measured
           WHERE protocol_id IN (SELECT protocol_id FROM scores) ORDER BY 1"""
    )
    return {protocol_id: json.loads(spec) for protocol_id, spec in rows}


def _scores(store: Store, setting_id: str) -> dict[str, Score]:
    rows = store.rows(
        """SELECT metric, value, low, high, n, n_expected, reason, ranked FROM scores
           WHERE setting_id = ? ORDER BY 1""",
        [setting_id],
    )
    return {metric: replace(Score(*numbers), ranked=False) for metric, *numbers in rows}


def _key(row: BoardRow, metric: str, protocols: Protocols) -> tuple[str, int] | None:
    score = row.scores.get(metric)
    if score is None or score.value is None or not score.ranked:
        return None
    return protocols.get((row.setting_id, metric), ""), score.n


def _unranked(row: BoardRow, metric: str, key: tuple[str, int], most: tuple[str, int]) -> BoardRow:
    differs = "another protocol" if key[0] != most[0] else f"n = {key[1]}, not {most[1]}"
    reason = f"{differs} than in most rows: not to be ranked with them"
    return replace(
        row, scores=row.scores | {metric: replace(row.scores[metric], reason=reason, ranked=False)}
    )
