"""From the store to the leaderboard as plain data: rows, ranks, floors, samples, comparisons."""

from __future__ import annotations

from eval.leaderboard.loading import load_board

__all__ = ["load_board"]
