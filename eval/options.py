"""Words of the command line -> values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa

from datatools.errors import InputError
from datatools.listing import table_lines
from eval.compat import Pair, compat_scores
from eval.store import Store
from eval.sweep_job import Weights

__all__ = ["compat_lines", "floats", "parse_weights", "query_lines", "whole_numbers"]


def floats(text: str | None) -> tuple[float, ...] | None:
    """ "1,3" -> (1.0, 3.0); None stays None.

    Raises:
        InputError: a part is no number.
    """
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"'{text}' is no list of numbers", "Write numbers with commas: 1,3") from error


def whole_numbers(text: str | None) -> tuple[int, ...] | None:
    """ "20,50" -> (20, 50); None stays None.

    Raises:
        InputError: a part is no whole number above 0.
    """
    numbers = floats(text)
    if numbers is None:
        return None
    if any(number < 1 or number != int(number) for number in numbers):
        raise InputError(f"'{text}' is no list of whole numbers", "Write them with commas: 20,50")
    return tuple(int(number) for number in numbers)


def parse_weights(text: str) -> Sequence[Weights]:
    """ "averaged,raw,0.999" -> which of a checkpoint's weights to use, in turn.

    Raises:
        InputError: neither a name nor a rate.
    """
    return [_weights(part) for part in text.split(",")]


def _weights(text: str) -> Weights:
    match text:
        case "averaged":
            return "averaged"
        case "raw":
            return "raw"
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"no weights '{text}'", "averaged, raw, or the rate of an average.") from error


def compat_lines(store: Store) -> Iterator[str]:
    """Compat scores of every setting and protocol, over pictures with text, missing ones as nothing read.

    Raises:
        InputError: nothing was scored yet.
    """
    rows = store.rows(
        """SELECT s.label, t.protocol_id, p.txt, coalesce(t.reading, '') FROM text_scores t
           JOIN settings s USING (setting_id)
           JOIN prompts p ON p.suite_id = s.suite_id AND p.prompt_id = t.prompt_id
           WHERE t.n_target > 0 AND s.spec->>'$.generator' <> 'typeset'
           ORDER BY s.position, t.protocol_id, p.position, t.seed"""
    )
    pairs: dict[tuple[str, str], list[Pair]] = {}
    for label, protocol_id, txt, reading in rows:
        pairs.setdefault((label, protocol_id), []).append(Pair(txt, reading))
    if not pairs:
        raise InputError(f"{store.path} holds no scores yet", "txtdiff-eval run or score makes them.")
    records = [
        {"setting": label, "protocol": protocol_id, "n": len(those)} | compat_scores(those)
        for (label, protocol_id), those in pairs.items()
    ]
    yield from table_lines(pa.Table.from_pylist(records))


def query_lines(store: Store, sql: str) -> Iterator[str]:
    """The answer to a query as lines of a table.

    Raises:
        InputError: the query cannot be run; DuckDB's own words.
    """
    try:
        yield from table_lines(store.arrow(sql))
    except duckdb.Error as error:
        raise InputError(f"the query failed: {error}") from error
