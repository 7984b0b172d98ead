"""Options of `txtdiff-eval report`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from eval.report.options import OutputFormat, ReportOptions

__all__ = ["ReportFlags"]


@dataclass(frozen=True, kw_only=True)
class ReportFlags:
    """What is shown of a leaderboard, and how."""

    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the page: one file, no network.")
    ] = None
    plots: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write plots of the rows shown: SVG and PNG, for papers."),
    ] = None
    sort: Annotated[str | None, typer.Option(metavar="METRIC", help="Order by this metric; default: EM.")] = (
        None
    )
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="CONDITION",
            help="Rows to show: 'sampler = ddim'; repeat it. They keep their ranks.",
        ),
    ] = None
    metric: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Column to show; repeat it. all shows every one.")
    ] = None
    file_format: Annotated[OutputFormat, typer.Option("--format", help="How it is printed.")] = "table"
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write there instead of printing.")] = None
    fail_if: Annotated[
        list[str] | None,
        typer.Option(metavar="CONDITION", help="Exit with 1 when it holds for a row shown: 'em_ci < 0.8'."),
    ] = None

    def options(self) -> ReportOptions:
        """What a report takes."""
        return ReportOptions(
            html=self.html,
            plots=self.plots,
            sort=self.sort,
            conditions=self.only or (),
            metrics=self.metric,
            file_format=self.file_format,
            out=self.out,
            gates=self.fail_if or (),
        )
