"""What torchrun tells the processes that it starts, read without torch."""

from __future__ import annotations

import os

__all__ = ["n_launched"]


def n_launched() -> int | None:
    """How many processes train together; None where there is no torchrun."""
    return int(os.environ["WORLD_SIZE"]) if {"RANK", "WORLD_SIZE"} <= os.environ.keys() else None
