"""From a store to what was asked for: a table on the terminal, a page, a file; and gates for CI."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from datatools.atomic import write_bytes_atomic, write_text_atomic
from datatools.console import plain, say
from datatools.errors import InputError
from eval.leaderboard import load_board
from eval.leaderboard.board import Board, BoardRow
from eval.machine.places import make_folder_of
from eval.metrics.score import MetricInfo
from eval.report.exports import export_board
from eval.report.figures import write_figures
from eval.report.options import ReportOptions
from eval.report.page import render_page
from eval.report.selection import choose_metrics, failing_rows, filter_rows, parse_condition, sort_rows
from eval.report.terminal import print_board
from eval.store import open_store

__all__ = ["write_report"]

_WIDTH_OF_A_FILE = 1000  # columns, where there is no terminal: a table with every metric fits


def write_report(store_path: Path, options: ReportOptions) -> bool:
    """Write what was asked for; returns whether a gate failed.

    Raises:
        InputError: no such store, row property or metric, Parquet without a file to write to, or a file
            that cannot be made.
    """
    conditions = [parse_condition(text) for text in options.conditions]
    gates = [parse_condition(text) for text in options.gates]
    if options.file_format == "parquet" and options.out is None:
        raise InputError("parquet is no text to print", "Name a file with --out.")
    with open_store(store_path) as store:
        only = partial(filter_rows, conditions=conditions) if conditions else None
        board = replace(load_board(store, only=only), conditions=tuple(options.conditions))
    if not board.rows:
        raise InputError(f"{store_path} holds no scores yet", "txtdiff-eval run or score makes them.")
    plots = None if options.plots is None else options.plots / "tradeoff.svg"
    for path in filter(None, (options.html, options.out, plots)):
        make_folder_of(path)
    rows = sort_rows(board, options.sort)
    _show(board, rows, choose_metrics(board, options.metrics), options)
    if options.html is not None:
        write_text_atomic(options.html, render_page(board))
        say(f"the page is {options.html}")
    if options.plots is not None:
        files = write_figures(replace(board, rows=rows), options.plots)
        names = ", ".join(sorted({file.stem for file in files})) or "none: there are no numbers to draw"
        say(f"plots in {options.plots}: {names}")
    wrong = failing_rows(board, gates)
    for line in wrong:
        say(f"gate: {plain(line)}")
    return bool(wrong)


def _show(
    board: Board, rows: Sequence[BoardRow], metrics: Sequence[MetricInfo], options: ReportOptions
) -> None:
    if options.file_format != "table":
        data = export_board(board, rows, metrics, options.file_format)
        if options.out is None:
            sys.stdout.buffer.write(data)
            sys.stdout.flush()
        else:
            write_bytes_atomic(options.out, data)
        return
    if options.out is None:
        has_width = sys.stdout.isatty() or "COLUMNS" in os.environ
        print_board(board, rows, metrics, Console(width=None if has_width else _WIDTH_OF_A_FILE))
        return
    with options.out.open("w", encoding="utf-8") as file:
        print_board(board, rows, metrics, Console(file=file, width=_WIDTH_OF_A_FILE))
