"""What a report is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["OutputFormat", "ReportOptions"]

OutputFormat = Literal["table", "md", "csv", "json", "latex", "parquet"]


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What to show of a board, and how."""

    html: Path | None = None
    plots: Path | None = None
    sort: str | None = None
    conditions: Sequence[str] = ()
    metrics: Sequence[str] | None = None
    file_format: OutputFormat = "table"
    out: Path | None = None
    gates: Sequence[str] = ()
