"""What settings are called in reports: their labels, and what tells those apart that share one."""

from __future__ import annotations

from collections import defaultdict

from eval.store.store import Store

__all__ = ["distinct_labels"]

_ID_DIGITS = 6

_SQL = """
SELECT setting_id, label, coalesce(CAST(spec->>'$.size_px' AS INTEGER), edge_px)
FROM settings LEFT JOIN (
    SELECT setting_id, any_value(least(width_px, height_px)) AS edge_px FROM samples GROUP BY setting_id
    HAVING count(DISTINCT least(width_px, height_px)) = 1) USING (setting_id)
ORDER BY position, setting_id"""


def distinct_labels(store: Store) -> dict[str, str]:
    """Labels by setting id, no two alike.

    A label names what its sweep varied; two sweeps may use the same one. Such get the pictures' shorter edge
    behind it where that tells them apart, else the first digits of the setting's id.
    """
    sharing: dict[str, dict[str, int | None]] = defaultdict(dict)
    for setting_id, label, size_px in store.rows(_SQL):
        sharing[label][setting_id] = size_px
    names = {}
    for label, sizes in sharing.items():
        by_size = None not in sizes.values() and len(set(sizes.values())) == len(sizes)
        for setting_id, size_px in sizes.items():
            more = f", {size_px} px" if by_size else f", {setting_id[:_ID_DIGITS]}"
            names[setting_id] = label if len(sizes) == 1 else label + more
    return names
