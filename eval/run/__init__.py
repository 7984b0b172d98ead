"""Sweep x suite -> pictures in the store: planned before anything is made, by one process or by many."""

from __future__ import annotations

from eval.run.pictures import Plan, keep_pictures, make_pictures, pending_cells, start_run, write_plan

__all__ = ["Plan", "keep_pictures", "make_pictures", "pending_cells", "start_run", "write_plan"]
