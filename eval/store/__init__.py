"""The evaluation store: one DuckDB file, raw material first, the pictures beside it, and what follows."""

from __future__ import annotations

from eval.store.store import Store, open_store

__all__ = ["Store", "open_store"]
