"""The leaderboard in a terminal: values with intervals, ties, and reasons for what could not be scored."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from datatools.console import plain
from eval.leaderboard.board import Board, BoardRow
from eval.metrics.registry import SHARE
from eval.metrics.score import MetricInfo, Score
from eval.reading.agreement import agreement_lines

__all__ = ["format_score", "marked_cells", "print_board"]


def print_board(
    board: Board, rows: Sequence[BoardRow], metrics: Sequence[MetricInfo], console: Console
) -> None:
    """Print the chosen rows and metrics as one table, real pictures below, then the notes to its marks."""
    table = Table(box=box.SIMPLE_HEAD, title=f"leaderboard · {plain(board.suite)}", title_justify="left")
    for head in ("rank", "tie"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("setting", overflow="fold")
    if show_reader := len({row.reader for row in rows}) > 1:
        table.add_column("read by", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    for metric in metrics:
        arrow = "↑" if metric.higher_is_better else "↓"
        table.add_column(f"{metric.label} {arrow}", justify="right", no_wrap=True)
    table.add_column("s/picture", justify="right")
    notes: dict[str, str] = {}
    for row, starts_group in zip(rows, _group_starts(rows), strict=True):
        if starts_group:
            table.add_section()
        cells = [escape(plain(cell)) for cell in marked_cells(row, metrics, notes)]
        cells.append("" if row.seconds_per_picture is None else f"{row.seconds_per_picture:.3g}")
        table.add_row(*cells[:3], *([escape(row.reader)] if show_reader else []), *cells[3:])
    if board.floors:
        table.add_section()
    for row in board.floors:
        cells = _floor_cells(row, metrics)
        table.add_row(*cells[:3], *([""] if show_reader else []), *cells[3:])
    console.print(table)
    for reason, mark in notes.items():
        console.print(escape(plain(f"{mark} {reason}")), soft_wrap=True, style="dim")
    for line in agreement_lines(board.agreements):
        console.print(escape(plain(line)), soft_wrap=True)
    n = board.counts
    made = f"{n['expected']} pictures expected, {n['done']} done"
    unread = f", {n['unread']} that the reader failed on" if n.get("unread") else ""
    console.print(f"{made}, {n['no_text']} without text, {n['failed']} failed{unread}")


def format_score(score: Score | None, metric: MetricInfo) -> str:
    """ "71.2 [65.1 76.4]" for shares, in per cent; "3.21 [2.94 3.52]" for others; "–" without a value."""
    if score is None or score.value is None:
        return "–"
    scale, digits = (100, 1) if metric.unit == SHARE else (1, 2)
    value = f"{score.value * scale:.{digits}f}"
    if score.low is None or score.high is None:
        return value
    return f"{value} [{score.low * scale:.{digits}f} {score.high * scale:.{digits}f}]"


def marked_cells(row: BoardRow, metrics: Sequence[MetricInfo], notes: dict[str, str]) -> list[str]:
    """Rank, tie, label, pictures done of those expected, and scores; a mark where there is a reason.

    Args:
        notes: the mark of each reason so far; new ones are added.
    """
    done, expected = row.n_pictures
    cells = ["" if row.rank is None else str(row.rank), row.tie, row.label]
    cells.append(str(expected) if done == expected else f"{done}/{expected}")
    for metric in metrics:
        score = row.scores.get(metric.id)
        mark = ""
        if score is not None and score.reason is not None:
            mark = notes.setdefault(score.reason, _mark(len(notes)))
        cells.append(format_score(score, metric) + (f" {mark}" if mark else ""))
    return cells


def _floor_cells(row: BoardRow, metrics: Sequence[MetricInfo]) -> list[str]:
    """A row of real pictures: no rank, blank where real pictures have no such number."""
    scores = [row.scores.get(metric.id) for metric in metrics]
    numbers = [
        "" if score is None else escape(format_score(score, metric))
        for score, metric in zip(scores, metrics, strict=True)
    ]
    return ["", "", escape(plain(row.label)), str(row.n_pictures[0]), *numbers, ""]


def _mark(number: int) -> str:
    marks = "*†‡§¶"
    return marks[number] if number < len(marks) else f"({number + 1})"


def _group_starts(rows: Sequence[BoardRow]) -> list[bool]:
    """Where another protocol or number of pictures begins: ranks start anew there."""
    keys = [(row.protocol_id, row.n_pictures[1]) for row in rows]
    return [i > 0 and key != keys[i - 1] for i, key in enumerate(keys)]
