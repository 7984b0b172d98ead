"""The leaderboard in a terminal: values with intervals, ties, and reasons for what could not be scored."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from datatools.console import plain
from eval.leaderboard.board import Board, BoardRow
from eval.metrics.registry import HEADLINE, SHARE
from eval.metrics.score import MetricInfo, Score
from eval.reading.agreement import agreement_lines

__all__ = ["format_score", "marked_cells", "print_board"]

_MIN_LABEL = 16  # characters of a label on a line, where it is longer


def print_board(
    board: Board, rows: Sequence[BoardRow], metrics: Sequence[MetricInfo], console: Console
) -> None:
    """Print the chosen rows and metrics as one table, real pictures below, then the notes to its marks.

    Metrics for which the terminal is too narrow are named, not squeezed.
    """
    shown = list(metrics)
    table, notes = _table(board, rows, shown)
    longest = max(cell_len(row.label) for row in (*rows, *board.floors))
    foldable = max(0, longest - _MIN_LABEL)
    while len(shown) > 1 and _full_width(table, console) - foldable > console.width:
        shown.pop()
        table, notes = _table(board, rows, shown)
    console.print(table)
    for reason, mark in notes.items():
        console.print(escape(plain(f"{mark} {reason}")), soft_wrap=True, style="dim")
    if hidden := ", ".join(metric.label for metric in metrics[len(shown) :]):
        told = f"too narrow for: {hidden} (--metric NAME chooses, --format md has all)"
        console.print(told, markup=False, soft_wrap=True, style="dim")
    for line in agreement_lines(board.agreements):
        console.print(escape(plain(line)), soft_wrap=True)
    console.print(_counts_line(board, rows), soft_wrap=True)


def _full_width(table: Table, console: Console) -> int:
    """Columns of a terminal in which nothing of the table would be folded or cut."""
    return Measurement.get(console, console.options.update(width=10_000), table).maximum


def _table(
    board: Board, rows: Sequence[BoardRow], metrics: Sequence[MetricInfo]
) -> tuple[Table, dict[str, str]]:
    """The table and the mark of each reason in it."""
    table = Table(box=box.SIMPLE_HEAD, title=f"leaderboard · {plain(board.suite)}", title_justify="left")
    for head in ("rank", "tie"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("setting", overflow="fold", min_width=_MIN_LABEL)
    if show_reader := len({row.reader for row in rows}) > 1:
        table.add_column("read by", no_wrap=True)
    table.add_column("pictures", justify="right", no_wrap=True)
    for metric in metrics:
        arrow = "↑" if metric.higher_is_better else "↓"
        table.add_column(f"{metric.label} {arrow}", justify="right", no_wrap=True)
    table.add_column("s/picture", justify="right", no_wrap=True)
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
        cells = [escape(plain(cell)) for cell in _floor_cells(row, metrics, notes)]
        table.add_row(*cells[:3], *([""] if show_reader else []), *cells[3:])
    return table, notes


def _counts_line(board: Board, rows: Sequence[BoardRow]) -> str:
    n = board.counts
    made = f"{n['expected']} pictures expected, {n['done']} done"
    unread = f", {n['unread']} that the reader failed on" if n.get("unread") else ""
    line = f"{made}, {n['no_text']} without text, {n['failed']} failed{unread}"
    with_text = {(row.scores[HEADLINE].n_expected, row.n_pictures[1]) for row in rows}
    if len(with_text) == 1 and 0 < (asked := with_text.pop())[0] < asked[1]:
        line += f"; scores of text are over the {asked[0]} of each row that were to hold text"
    return line


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
    return cells + [_marked(row.scores.get(metric.id), metric, notes) for metric in metrics]


def _floor_cells(row: BoardRow, metrics: Sequence[MetricInfo], notes: dict[str, str]) -> list[str]:
    """A row of real pictures: no rank, blank where real pictures have no such number."""
    scores = [(row.scores.get(metric.id), metric) for metric in metrics]
    numbers = ["" if score is None else _marked(score, metric, notes) for score, metric in scores]
    return ["", "", row.label, str(row.n_pictures[0]), *numbers, ""]


def _marked(score: Score | None, metric: MetricInfo, notes: dict[str, str]) -> str:
    if score is None or score.reason is None:
        return format_score(score, metric)
    return f"{format_score(score, metric)} {notes.setdefault(score.reason, _mark(len(notes)))}"


def _mark(number: int) -> str:
    marks = "*†‡§¶"
    return marks[number] if number < len(marks) else f"({number + 1})"


def _group_starts(rows: Sequence[BoardRow]) -> list[bool]:
    """Where another protocol or number of pictures begins: ranks start anew there."""
    keys = [(row.protocol_id, row.n_pictures[1]) for row in rows]
    return [i > 0 and key != keys[i - 1] for i, key in enumerate(keys)]
