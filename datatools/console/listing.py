"""Rows of a query as lines of text: aligned columns, CSV, JSON Lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

from datatools.console.terminal import plain

if TYPE_CHECKING:  # whoever has a table has Arrow
    import pyarrow as pa

__all__ = ["LinesFormat", "csv_lines", "jsonl_lines", "lines_as", "table_lines"]

LinesFormat = Literal["table", "csv", "jsonl"]
"""table cuts long values; the others hold everything."""

_MAX_CHARS = 60  # a cell of the aligned form; the other forms print everything


def lines_as(table: pa.Table, form: LinesFormat) -> Iterator[str]:
    """The table in one of the forms."""
    return {"table": table_lines, "csv": csv_lines, "jsonl": jsonl_lines}[form](table)


def table_lines(table: pa.Table) -> Iterator[str]:
    """Aligned columns; long values are cut, newlines shown as \\n, control characters replaced."""
    rows = [[_cell(value) for value in row] for row in _rows(table)]
    header = [plain(name) for name in table.column_names]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, ["-" * width for width in widths], *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def csv_lines(table: pa.Table) -> Iterator[str]:
    """RFC 4180 with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.column_names)
    writer.writerows(_rows(table))
    yield text.getvalue().removesuffix("\n")


def jsonl_lines(table: pa.Table) -> Iterator[str]:
    """One JSON object a row; a second column of the same name is called name_2."""
    names: list[str] = []
    for name in table.column_names:
        others = (f"{name}_{number}" for number in count(2))
        taken = {*table.column_names, *names}
        names.append(name if name not in names else next(n for n in others if n not in taken))
    for row in _rows(table):
        yield json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False, default=str)


def _rows(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """Not `to_pylist`: its rows are dictionaries, and a join may well have two columns of one name."""
    for batch in table.to_batches(10_000):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = (
        f"{value:.6g}" if isinstance(value, float) else str(value).replace("\n", "\\n").replace("\t", "\\t")
    )
    return plain(text if len(text) <= _MAX_CHARS else text[: _MAX_CHARS - 1] + "…")
