"""Everything the catalog knows of one picture, with its bytes: what exports are made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from datatools.catalog.catalog import Catalog
from datatools.catalog.duplicates import near_duplicates

__all__ = ["Record", "count_usable", "read_records"]

_RECORDS = """
SELECT p.key, p.uri, CASE WHEN p.uri = p.source_uri THEN p.key ELSE p.uri END AS file_name, p.sha256,
    p.width_px, p.height_px, t.text, t.source, t.confidence,
    CASE WHEN s.key IS NOT NULL THEN [s."left", s.top, s."right", s.bottom] END AS safebox,
    CASE WHEN x.key IS NOT NULL THEN [x.sx, x.sy] END AS px_scale,
    COALESCE(c.captions, []) AS captions
FROM pictures AS p JOIN transcriptions AS t USING (key)
LEFT JOIN safeboxes AS s USING (key) LEFT JOIN px_scales AS x USING (key)
LEFT JOIN (
    SELECT key, list(caption ORDER BY source, position) AS captions FROM captions GROUP BY key) AS c
    USING (key)
WHERE p.status = 'ok' AND p.key NOT IN (SELECT key FROM given_dropped)
"""

# By the sha256 of their keys: an even sample, the same each time.
_DRAWN = f"SELECT * FROM ({_RECORDS} ORDER BY sha256(p.key), p.key LIMIT $n_drawn) ORDER BY key"


@dataclass(frozen=True, slots=True)
class Record:
    """One picture and what is known of it."""

    key: str
    uri: str
    file_name: str
    """What ends in the extension of its format: the key, or the name of the shrunk copy."""
    sha256: str
    width_px: int
    height_px: int
    text: str
    source: str
    """Who said the text: "given" or the name of a reader."""
    confidence: float | None
    safebox: list[float] | None
    px_scale: list[float] | None
    captions: list[str]

    def facts(self) -> dict[str, Any]:
        """All but where it is, as JSON takes it."""
        return {name: getattr(self, name) for name in self.__slots__ if name not in ("uri", "file_name")}

    @property
    def extension(self) -> str:
        """Of its format, in lower case."""
        return self.file_name.rpartition(".")[2].lower()


def count_usable(catalog: Catalog) -> int:
    """How many records there are."""
    return int(
        catalog.value("SELECT count(*) FROM pictures JOIN transcriptions USING (key) WHERE status = 'ok'")
    )


def read_records(catalog: Catalog, *, drop_duplicates: bool, n_drawn: int | None = None) -> Iterator[Record]:
    """Records of usable pictures in order of their keys.

    Args:
        catalog: an open catalog.
        drop_duplicates: of each group of near duplicates, only the picture to keep.
        n_drawn: at most so many, drawn by a hash of their keys; None: all.
    """
    groups = near_duplicates(catalog) if drop_duplicates else pa.table({"key": [""], "of": [""]})
    doubles = groups.filter(pc.not_equal(groups["key"], groups["of"]))
    with catalog.given("given_dropped", doubles.select(["key"])):
        rows = (
            catalog.arrow(f"{_RECORDS} ORDER BY p.key")
            if n_drawn is None
            else catalog.arrow(_DRAWN, {"n_drawn": n_drawn})
        )
    for batch in rows.to_batches(1000):
        for row in batch.to_pylist():
            yield Record(**row)
