"""From the store to the board: rows of one protocol, one suite and the same pictures are ranked together."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import pandas as pd

from datatools.console import messages, plain
from eval.leaderboard.board import Board, BoardRow
from eval.leaderboard.calibrations import calibrated_row, ceiling_counts, load_calibrations
from eval.leaderboard.error_kinds import error_kinds
from eval.leaderboard.panels import confusions, em_by_length
from eval.leaderboard.picture_columns import load_floors, lock_columns, measure_specs, picture_protocols
from eval.leaderboard.ranked_rows import rank_rows
from eval.leaderboard.samples import load_samples
from eval.metrics.registry import OTHER_METRICS, all_metrics
from eval.metrics.score import MetricInfo, Score
from eval.reading.agreement import load_agreements
from eval.reading.protocol import KnownProtocol, load_protocols
from eval.store import Store
from eval.store.counts import count_pictures, load_counts
from eval.store.labels import distinct_labels
from eval.store.real_rows import REAL

__all__ = ["load_board"]


def load_board(
    store: Store,
    max_pictures: int = 2_000,
    only: Callable[[Sequence[BoardRow]], Sequence[BoardRow]] | None = None,
) -> Board:
    """The whole leaderboard, best rows first; the same store gives the same board.

    Args:
        max_pictures: how many pictures to load at most, for the wall of samples.
        only: picks the rows that the board is about, panels, samples and totals included; their ranks, ties
            and intervals stay those among all rows. None: all, and settings without scores in the totals.
    """
    labels = distinct_labels(store)
    settings = [
        (setting_id, labels[setting_id], spec, suite_id)
        for setting_id, spec, suite_id in store.rows(
            """SELECT setting_id, spec, suite_id FROM settings
               WHERE spec->>'$.generator' NOT IN ('typeset', ?) ORDER BY position""",
            [REAL],
        )
    ]
    protocols = load_protocols(store)
    ids = [setting_id for setting_id, *_ in settings]
    counts = {protocol_id: load_counts(store, ids, protocol_id) for protocol_id in protocols}
    frames = {
        (str(setting_id), protocol_id): frame
        for protocol_id, all_counts in counts.items()
        for setting_id, frame in all_counts.groupby("setting_id", sort=False)
    }
    calibrations = load_calibrations(store, sorted(protocols))
    scores = _scores(store)
    rows = _rows(store, settings, frames, scores)
    _tell_unscored(settings, rows)
    rows = [replace(row, reader=protocols[row.protocol_id].words) for row in rows]
    rows = [calibrated_row(row, frames[row.setting_id, row.protocol_id], calibrations) for row in rows]
    ordered, pairs = rank_rows(rows, frames)
    ordered = lock_columns(ordered, picture_protocols(store))
    metrics = _metrics(ordered)
    if only is not None:
        ordered = list(only(ordered))
        ids = list(dict.fromkeys(row.setting_id for row in ordered))
    main = ordered[0].protocol_id if ordered else ""
    # Panels are of one protocol: a row of another shows what stands in it alone.
    main_rows = [row for row in ordered if row.protocol_id == main]
    main_ids = [row.setting_id for row in main_rows]
    counts_of_main = _joined([frames[row.setting_id, main] for row in main_rows])
    ceilings = _joined(ceiling_counts(main_rows, calibrations))
    return Board(
        rows=ordered,
        samples=load_samples(store, main_ids, main, protocols[main].spec, max_pictures) if main else [],
        metrics=metrics,
        provenance=_provenance(store, protocols),
        floors=load_floors(store, ordered),
        suite=", ".join(sorted({suite_id for setting_id, *_, suite_id in settings if setting_id in ids})),
        counts=asdict(count_pictures(store, ids, main)),
        em_by_length=em_by_length(counts_of_main) | em_by_length(ceilings),
        confusions=confusions(counts_of_main) | confusions(ceilings),
        error_kinds=error_kinds(counts_of_main) | error_kinds(ceilings),
        pairs={pair: test for pair, test in pairs.get(main, {}).items() if set(pair) <= set(main_ids)},
        agreements=load_agreements(store, ids),
    )


def _joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(frames) if frames else pd.DataFrame()


def _rows(
    store: Store,
    settings: Sequence[tuple[Any, ...]],
    frames: Mapping[tuple[str, str], pd.DataFrame],
    scores: Mapping[tuple[str, str], dict[str, Score]],
) -> list[BoardRow]:
    costs = {
        row[0]: row[1:]
        for row in store.rows(
            """SELECT setting_id, avg(seconds), avg(n_evaluations),
                      string_agg(DISTINCT device, ', ' ORDER BY device),
                      count(*) FILTER (status = 'done'), count(*),
                      min(least(width_px, height_px)), max(least(width_px, height_px))
               FROM samples GROUP BY setting_id"""
        )
    }
    rows = []
    for setting_id, label, spec, suite_id in settings:
        for protocol_id in [protocol for known, protocol in frames if known == setting_id]:
            seconds, n_evaluations, device, n_done, n_expected, smallest, largest = costs[setting_id]
            numbers = scores.get((setting_id, protocol_id))
            if numbers is None:  # killed between counting and scoring
                continue
            row = BoardRow(setting_id, label, json.loads(spec), numbers, None, "", protocol_id)
            cost = {"seconds_per_picture": seconds, "n_evaluations": n_evaluations, "device": device}
            about = {"suite_id": suite_id, "size_px": smallest if smallest == largest else None}
            rows.append(replace(row, **cost, **about, n_pictures=(n_done, n_expected)))
    return rows


def _tell_unscored(settings: Sequence[tuple[Any, ...]], rows: Sequence[BoardRow]) -> None:
    """Name the settings that have no row: a run that was killed has not come to them."""
    shown = {row.setting_id for row in rows}
    missing = ", ".join(label for setting_id, label, *_ in settings if setting_id not in shown)
    if missing and rows:
        messages.print(
            plain(f"left out, as they are not scored yet (run the same command again): {missing}"),
            markup=False,
            soft_wrap=True,
        )


def _scores(store: Store) -> dict[tuple[str, str], dict[str, Score]]:
    """Scores by setting and text protocol; fidelity and agreement belong to every protocol of a setting."""
    known = {info.id for info in OTHER_METRICS}
    by_protocol: dict[tuple[str, str], dict[str, Score]] = defaultdict(dict)
    shared: dict[str, dict[str, Score]] = defaultdict(dict)
    for setting_id, metric, protocol_id, *numbers in store.rows(
        """SELECT setting_id, metric, protocol_id, value, low, high, n, n_expected, reason, ranked
           FROM scores ORDER BY ALL"""
    ):
        home = shared[setting_id] if metric in known else by_protocol[setting_id, protocol_id]
        home[metric] = Score(*numbers)
    return {key: scores | shared[key[0]] for key, scores in by_protocol.items()}


def _metrics(rows: Sequence[BoardRow]) -> list[MetricInfo]:
    """Every metric that some row has an entry for, valued or not, in the order of the registry."""
    present = {metric for row in rows for metric in row.scores}
    return [info for info in all_metrics() if info.id in present]


def _provenance(store: Store, protocols: Mapping[str, KnownProtocol]) -> dict[str, Any]:
    runs = store.rows("SELECT run_id, started_at, provenance FROM runs ORDER BY started_at, run_id")
    readers = store.rows("SELECT reader_id, name, version, weights_digest, settings FROM readers ORDER BY 1")
    suites = store.rows("SELECT suite_id, digest FROM suites ORDER BY 1")
    return {
        "protocols": {protocol_id: dict(one.spec) for protocol_id, one in sorted(protocols.items())},
        "readers": {
            reader_id: {"name": name, "version": version, "weights": digest, "settings": json.loads(settings)}
            for reader_id, name, version, digest, settings in readers
        },
        "suites": dict(suites),
        "measures": measure_specs(store),
        "runs": [
            {"run_id": run_id, "started_at": started_at.isoformat()} | json.loads(provenance)
            for run_id, started_at, provenance in runs
        ],
    }
