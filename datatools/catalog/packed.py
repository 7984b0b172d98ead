"""The layout of a packed set, for those who make it and those who train from it."""

from __future__ import annotations

__all__ = ["PACKED_CATALOG", "PACKED_PICTURES"]

PACKED_CATALOG = "catalog.duckdb"
"""Its catalog."""

PACKED_PICTURES = "pictures"
"""The folder with its pictures, called as their keys in the catalog."""
