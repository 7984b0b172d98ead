"""What a store holds as lines of text: the answer to a query, and the scores of other benchmarks."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pyarrow as pa

from datatools.console.listing import LinesFormat, lines_as
from datatools.errors import InputError
from eval.store.labels import distinct_labels
from eval.store.store import Store
from eval.text_metrics.compat import Pair, compat_scores

__all__ = ["compat_lines", "query_lines"]


def compat_lines(store: Store, form: LinesFormat = "table") -> Iterator[str]:
    """Compat scores of every setting and protocol, over pictures with text, missing ones as nothing read.

    Raises:
        InputError: nothing was scored yet.
    """
    rows = store.rows(
        """SELECT setting_id, t.protocol_id, r.name, p.txt, coalesce(t.reading, '') FROM text_scores t
           JOIN settings s USING (setting_id)
           JOIN protocols USING (protocol_id) JOIN readers r USING (reader_id)
           JOIN prompts p ON p.suite_id = s.suite_id AND p.prompt_id = t.prompt_id
           WHERE t.n_target > 0 AND s.spec->>'$.generator' <> 'typeset'
           ORDER BY s.position, t.protocol_id, p.position, t.seed"""
    )
    pairs: dict[tuple[str, str, str], list[Pair]] = {}
    for setting_id, protocol_id, reader, txt, reading in rows:
        pairs.setdefault((setting_id, protocol_id, reader), []).append(Pair(txt, reading))
    if not pairs:
        raise InputError(f"{store.path} holds no scores yet", "txtdiff-eval run or score makes them.")
    labels = distinct_labels(store)
    records = [
        {"setting": labels[setting_id], "reader": reader, "protocol": protocol_id, "n": len(those)}
        | compat_scores(those)
        for (setting_id, protocol_id, reader), those in pairs.items()
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
