"""The catalog: one DuckDB file with documented views, its versions, and what is asked of it."""

from __future__ import annotations

from datatools.catalog.catalog import Catalog, open_catalog, query_catalog

__all__ = [
    "Catalog",
    "open_catalog",
    "query_catalog",
]
