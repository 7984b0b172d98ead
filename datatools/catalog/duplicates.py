"""Pictures that are nearly the same: alike by looks and by what is written on them."""

from __future__ import annotations

import pyarrow as pa

from datatools.catalog.catalog import Catalog

__all__ = ["MAX_DIFFERING_BITS", "near_duplicates"]

MAX_DIFFERING_BITS = 4
"""Perceptual hashes that differ in more bits of 64 are different pictures."""

_MIN_SIMILARITY = 0.8  # of the transcriptions; a sign in the same place with another text is another picture

# Of a transcription; the cost of comparing two grows with the product of their lengths.
_COMPARED_CHARS = 2000

# Pictures with one hash and one text are one group at once: a thousand copies are not a million pairs.
# Of each such group one is compared with others. Five bands: two hashes that differ in at most four bits
# agree in at least one band whole (pigeonhole), so joining on equal bands finds every pair without comparing
# all with all.
_PAIRS = f"""
WITH hashed AS (
    SELECT p.key, p.phash, left(COALESCE(lower(t.text), ''), {_COMPARED_CHARS}) AS text,
        min(key) OVER (PARTITION BY p.phash, text) AS like_key
    FROM pictures AS p LEFT JOIN transcriptions AS t USING (key)
    WHERE p.status = 'ok' AND p.phash IS NOT NULL),
banded AS (
    SELECT key, phash, text, unnest([0, 1, 2, 3, 4]) AS band,
        unnest([(phash >> s) & 8191 FOR s IN [0, 13, 26, 39, 52]]) AS bits FROM hashed WHERE key = like_key)
SELECT like_key AS first, key AS second FROM hashed WHERE key != like_key
UNION ALL
SELECT DISTINCT a.key AS first, b.key AS second
FROM banded AS a JOIN banded AS b ON a.band = b.band AND a.bits = b.bits AND a.key < b.key
WHERE bit_count(xor(a.phash, b.phash)) <= {MAX_DIFFERING_BITS}
    AND levenshtein(a.text, b.text) <= (1 - {_MIN_SIMILARITY}) * greatest(len(a.text), len(b.text))
"""


def near_duplicates(catalog: Catalog) -> pa.Table:
    """Groups of pictures that are nearly the same.

    Returns:
        Columns key and of: `of` is the picture of the group to keep, the one with most pixels, of equals the
        first by key; it has a row of its own. Pictures without a like are not in the table.
    """
    pairs = catalog.arrow(_PAIRS)
    group = _connected(zip(pairs["first"].to_pylist(), pairs["second"].to_pylist(), strict=True))
    table = pa.table({"key": pa.array(group, pa.string()), "root": pa.array(group.values(), pa.string())})
    with catalog.given("given_groups", table):
        return catalog.arrow(
            """SELECT key, first_value(key) OVER (
                PARTITION BY root ORDER BY width_px::BIGINT * height_px DESC, key) AS of
            FROM given_groups JOIN pictures USING (key) ORDER BY key"""
        )


def _connected(pairs: zip[tuple[str, str]]) -> dict[str, str]:
    """Each name with the representative of its connected part (union-find with path halving)."""
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for first, second in pairs:
        parent[find(second)] = find(first)
    return {name: find(name) for name in list(parent)}
