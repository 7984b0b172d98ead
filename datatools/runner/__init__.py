"""Tasks spread over processes that may die, here or on a Ray cluster, without losing a task."""

from __future__ import annotations

from datatools.runner.local import (
    START_LIMIT_S,
    THREAD_LIMITS,
    ChunkWorker,
    LocalRunner,
    Runner,
    WorkSetup,
    chunk_limit_s,
)

__all__ = [
    "START_LIMIT_S",
    "THREAD_LIMITS",
    "ChunkWorker",
    "LocalRunner",
    "Runner",
    "WorkSetup",
    "chunk_limit_s",
]
