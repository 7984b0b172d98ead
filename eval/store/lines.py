"""What a store holds as lines of text: the answer to a query, and the scores of other benchmarks."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pyarrow as pa

from datatools.console.listing import LinesFormat, lines_as
from datatools.errors import InputError
from eval.store.store import Store
from eval.text_metrics.compat import Pair, compat_scores

__all__ = ["compat_lines", "query_lines"]


def compat_lines(store: Store, form: LinesFormat = "table") -> Iterator[str]:
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
    yield from lines_as(pa.Table.from_pylist(records), form)


def query_lines(store: Store, sql: str, form: LinesFormat = "table") -> Iterator[str]:
    """The answer to a query as lines.

    Raises:
        InputError: the query cannot be run; DuckDB's own words.
    """
    try:
        yield from lines_as(store.arrow(sql), form)
    except duckdb.Error as error:
        raise InputError(f"the query failed: {error}") from error
