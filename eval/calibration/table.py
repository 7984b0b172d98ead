"""What a calibration found, as a table: what a reader reads, by size, length, letter height and charset."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pandas as pd
import pyarrow as pa

from datatools.console.listing import table_lines
from eval.reading.protocol import Protocol
from eval.statistics import wilson
from eval.store import Store
from eval.store.counts import load_counts

__all__ = ["ceiling_lines", "charset"]

_LENGTHS = (0, 4, 8, 16, 40, 10**6)
_HEIGHTS_PX = (0, 8, 12, 16, 24, 48, 10**6)


def ceiling_lines(store: Store, setting_ids: Sequence[str], protocols: Sequence[Protocol]) -> Iterator[str]:
    """Shares of typeset texts read right, and of texts with one error that were read as if they had none.

    Intervals are Wilson's with n = texts: renders of one text tell little new.

    Args:
        setting_ids: of a calibration, ceilings and floors.
        protocols: one for each reader.
    """
    renders = _renders(store, setting_ids)
    records, n_suites = [], renders["suite_id"].nunique()
    for protocol in protocols:
        counts = load_counts(store, setting_ids, protocol.id)
        [(reader,)] = store.rows("SELECT name FROM readers WHERE reader_id = ?", [protocol.reader_id])
        frame = counts[counts["n_target"] > 0].merge(renders, on=["setting_id", "prompt_id", "seed"])
        for (suite_id, _, size), of_size in frame.groupby(["suite_id", "edge_px", "size"], sort=True):
            head = {"reader": reader} | ({"suite": suite_id} if n_suites > 1 else {}) | {"size": size}
            records += [head | row for row in _rows(of_size)]
    yield from table_lines(pa.Table.from_pylist(records))


def charset(text: str) -> str:
    """What a text is made of."""
    marks = [c for c in text if not c.isalnum() and not c.isspace()]
    if marks:
        return "with marks"
    if any(c.isdigit() for c in text):
        return "letters and digits" if any(c.isalpha() for c in text) else "digits"
    return "lower case" if text.islower() else "capitals" if text.isupper() else "both cases"


def _renders(store: Store, setting_ids: Sequence[str]) -> pd.DataFrame:
    """Role, edge, how it came to that edge, and height of letters of each typeset picture.

    An upsampler can fail on one: that picture has no height, and counts as wrong.
    """
    frame = store.frame(
        """SELECT setting_id, suite_id, prompt_id, seed, regions, spec->>'$.role' AS role,
                  max(width_px) OVER (PARTITION BY setting_id) AS edge_px,
                  if(role = 'enlarged', label, edge_px || ' px') AS size
           FROM samples JOIN settings USING (setting_id) WHERE setting_id IN (SELECT unnest(?))""",
        [list(setting_ids)],
    )
    return frame.assign(height_px=[_height_px(regions) for regions in frame.pop("regions")])


def _height_px(regions: str | None) -> float:
    """Of the ink of the lowest line: it decides whether the whole is read."""
    if not isinstance(regions, str):
        return float("nan")
    boxes = json.loads(regions)
    return float(min(max(y for _, y in box) - min(y for _, y in box) for box in boxes))


def _rows(frame: pd.DataFrame) -> Iterator[dict[str, object]]:
    yield {"texts": "all"} | _shares(frame)
    strata = {
        "characters": _ranges(frame["n_target"], _LENGTHS, 1),
        "px high": _ranges(frame["height_px"], _HEIGHTS_PX, 0),
        "": frame["txt"].map(charset),
    }
    for unit, stratum in strata.items():
        for name, rows in frame.groupby(stratum, observed=True, sort=True):
            yield {"texts": f"{name} {unit}".strip()} | _shares(rows)


def _ranges(values: pd.Series[float], edges: Sequence[int], step: int) -> pd.Series[str]:
    """The range of each value, upper edge included; whole numbers begin one above the edge."""
    names = [f"{low + step} to {high}" for low, high in pairwise(edges[:-1])]
    return pd.cut(values, edges, labels=[f"up to {edges[1]}", *names[1:], f"over {edges[-2]}"])


def _shares(frame: pd.DataFrame) -> dict[str, object]:
    """Ceiling and floor in per cent, with intervals, and the number of pictures behind each."""
    shares: dict[str, object] = {}
    for role, name in (("ceiling", "read right"), ("trap", "error overlooked")):
        rows = frame[frame["role"].replace("enlarged", "ceiling") == role]
        if rows.empty:
            shares |= {name: "", f"n {role}": 0}
            continue
        em, n_texts = float(rows["em_ci"].mean()), rows["prompt_id"].nunique()
        low, high = (100 * bound for bound in wilson(em * n_texts, n_texts))
        shares |= {name: f"{100 * em:.1f} % [{low:.1f} {high:.1f}]", f"n {role}": len(rows)}
    return shares
