"""The leaderboard as files: CSV, JSON and Parquet with full numbers, Markdown and LaTeX as printed."""

from __future__ import annotations

import csv
import functools
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from datatools.console import plain
from eval.identity import canonical_json
from eval.leaderboard.board import Board, BoardRow
from eval.metrics.score import MetricInfo
from eval.report.terminal import marked_cells

__all__ = ["FORMATS", "Format", "export_board"]

Format = Literal["csv", "json", "md", "latex", "parquet"]

JSON_SCHEMA_VERSION = 1

_LATEX = str.maketrans(
    {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {character: f"\\{character}" for character in "&%$#_{}"}
)
_LATEX_SIGNS = (
    ("↑", r"$\uparrow$"),
    ("↓", r"$\downarrow$"),
    ("–", "--"),
    ("†", r"$\dagger$"),
    ("‡", r"$\ddagger$"),
    ("§", r"\S"),
    ("¶", r"\P"),
)
_MARKDOWN = str.maketrans({character: f"\\{character}" for character in "\\`*_{}[]<>|"})


def export_board(
    board: Board, rows: Sequence[BoardRow], metrics: Sequence[MetricInfo], file_format: Format
) -> bytes:
    """The chosen rows and metrics in a format, rows of real pictures last. The same board, the same bytes."""
    shown = rows if file_format == "json" else [*rows, *board.floors]
    return FORMATS[file_format](board, shown, metrics)


def _csv(board: Board, rows: Sequence[BoardRow], metrics: Sequence[MetricInfo]) -> bytes:
    records = [_record(row, metrics) for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(_record_names(metrics)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode()


def _json(board: Board, rows: Sequence[BoardRow], metrics: Sequence[MetricInfo]) -> bytes:
    """Everything about the chosen rows, scores that were not chosen included: it is for programs."""
    document = {
        "schema": JSON_SCHEMA_VERSION,
        "suite": board.suite,
        "counts": board.counts,
        "metrics": [asdict(metric) for metric in board.metrics],
        "rows": [asdict(row) for row in rows],
        "floors": [asdict(row) for row in board.floors],
        "panels": _panels(board),
        "conditions": list(board.conditions),
        "agreements": [asdict(pair) for pair in board.agreements],
        "provenance": board.provenance,
    }
    return (json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def _panels(board: Board) -> dict[str, Any]:
    """What lies behind the rows of the first row's protocol, and its ceilings: counts by setting_id."""
    return {
        "protocol_id": board.rows[0].protocol_id if board.rows else None,
        "em_by_length": {key: [asdict(one) for one in bins] for key, bins in board.em_by_length.items()},
        "confusions": board.confusions,
        "error_kinds": {key: asdict(kinds) for key, kinds in board.error_kinds.items()},
    }


def _markdown(board: Board, rows: Sequence[BoardRow], metrics: Sequence[MetricInfo]) -> bytes:
    (head, *lines), notes = _printed(rows, metrics)
    rule = ["---:", "---", "---", "---", "---:", *["---:"] * len(metrics)]
    cells = [[_one_line(cell).translate(_MARKDOWN) for cell in line] for line in lines]
    explained = [_one_line(f"{mark} {reason}").translate(_MARKDOWN) for reason, mark in notes.items()]
    printed = [f"| {' | '.join(line)} |\n" for line in (head, rule, *cells)]
    return "".join([*printed, *(f"\n{note}\n" for note in explained)]).encode()


def _latex(board: Board, rows: Sequence[BoardRow], metrics: Sequence[MetricInfo]) -> bytes:
    """A tabular for booktabs, what its marks mean in comments; the reader's paper brings its own caption."""
    lines, notes = _printed(rows, metrics)
    printed = [" & ".join(_one_line(cell).translate(_LATEX) for cell in line) + r" \\" for line in lines]
    printed = [
        functools.reduce(lambda text, sign: text.replace(*sign), _LATEX_SIGNS, line) for line in printed
    ]
    top = [rf"\begin{{tabular}}{{rlllr{'r' * len(metrics)}}}", r"\toprule", printed[0], r"\midrule"]
    below = ["% " + _one_line(f"{mark} {reason}") for reason, mark in notes.items()]
    return "\n".join([*top, *printed[1:], r"\bottomrule", r"\end{tabular}", *below, ""]).encode()


def _one_line(text: str) -> str:
    """Without control characters and line ends, which would end a row or a comment."""
    return " ".join(plain(text).split())


def _printed(
    rows: Sequence[BoardRow], metrics: Sequence[MetricInfo]
) -> tuple[list[list[str]], dict[str, str]]:
    """Head and rows as the terminal prints them, with who read, and the mark of each reason."""
    notes: dict[str, str] = {}
    arrows = [f"{metric.label} {'↑' if metric.higher_is_better else '↓'}" for metric in metrics]
    lines = [["rank", "tie", "setting", "read by", "pictures", *arrows]]
    for row in rows:
        cells = marked_cells(row, metrics, notes)
        lines.append([*cells[:3], row.reader, *cells[3:]])
    return lines, notes


def _parquet(board: Board, rows: Sequence[BoardRow], metrics: Sequence[MetricInfo]) -> bytes:
    names = _record_names(metrics)
    records = [_record(row, metrics) for row in rows]
    table = pa.table(
        {name: pa.array([record[name] for record in records], kind) for name, kind in names.items()}
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue().to_pybytes())


FORMATS: dict[Format, Callable[[Board, Sequence[BoardRow], Sequence[MetricInfo]], bytes]] = {
    "csv": _csv,
    "json": _json,
    "md": _markdown,
    "latex": _latex,
    "parquet": _parquet,
}


def _record_names(metrics: Sequence[MetricInfo]) -> dict[str, pa.DataType]:
    names = {"rank": pa.int32(), "rank_low": pa.int32(), "rank_high": pa.int32(), "tie": pa.string()}
    names |= dict.fromkeys(("label", "setting_id", "protocol_id", "reader", "suite", "spec"), pa.string())
    names |= {"n_done": pa.int32(), "n_expected": pa.int32()}
    names |= dict.fromkeys(("seconds_per_picture", "n_evaluations"), pa.float64())
    names |= {"device": pa.string()}
    for metric in metrics:
        names |= dict.fromkeys((metric.id, f"{metric.id}_low", f"{metric.id}_high"), pa.float64())
        names |= {
            f"{metric.id}_n": pa.int32(),
            f"{metric.id}_n_expected": pa.int32(),
            f"{metric.id}_ranked": pa.bool_(),
            f"{metric.id}_reason": pa.string(),
        }
    return names


def _record(row: BoardRow, metrics: Sequence[MetricInfo]) -> dict[str, Any]:
    low, high = row.rank_interval or (None, None)
    record: dict[str, Any] = {"rank": row.rank, "rank_low": low, "rank_high": high, "tie": row.tie}
    record |= {"label": row.label, "setting_id": row.setting_id, "protocol_id": row.protocol_id}
    record |= {"reader": row.reader, "suite": row.suite_id}
    record |= {"spec": canonical_json(row.spec), "n_done": row.n_pictures[0], "n_expected": row.n_pictures[1]}
    record |= {"seconds_per_picture": row.seconds_per_picture, "n_evaluations": row.n_evaluations}
    record |= {"device": row.device}
    for metric in metrics:
        score = row.scores.get(metric.id)
        for suffix, name in (
            ("", "value"),
            ("_low", "low"),
            ("_high", "high"),
            ("_n", "n"),
            ("_n_expected", "n_expected"),
            ("_ranked", "ranked"),
        ):
            record[metric.id + suffix] = None if score is None else getattr(score, name)
        record[f"{metric.id}_reason"] = "not computed" if score is None else score.reason
    return record
