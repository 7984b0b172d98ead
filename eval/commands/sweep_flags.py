"""Options of `txtdiff-eval run`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import typer

from datatools.console import count_option
from datatools.errors import InputError
from eval.commands.axis_flags import AxisFlags
from eval.commands.numbers import floats, whole_numbers
from eval.commands.scoring_flags import Reference, ScoringFlags
from eval.sweep.job import DiffusersOptions, Spread, SweepJob
from txtdiff.which_weights import parse_weights

__all__ = ["SweepFlags"]

_PIPELINE_AXES = ("guidance",)  # a pipeline has its own
_CASCADE_ONLY = (
    "upsampler",
    "weaker",
    "over",
    *(field.name for field in fields(AxisFlags) if field.name not in _PIPELINE_AXES),
)


@dataclass(frozen=True, kw_only=True)
class MakerFlags:
    """Who makes pictures of what, and where."""

    base: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Run, checkpoint or pretrained:NAME; repeat to compare several."),
    ] = None
    diffusers: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|DIR", help="A diffusers pipeline in place of --base, by hub name or folder."
        ),
    ] = None
    steps: Annotated[
        str | None, typer.Option(metavar="N,N…", help="Steps of the diffusers pipeline; default: its own.")
    ] = None
    size_px: Annotated[
        int | None, typer.Option("--size", min=8, metavar="PX", help="Edge of the pipeline's pictures.")
    ] = None
    workers: int | None = count_option(
        None, "Processes that make pictures; default: this one, or one per device."
    )
    devices: Annotated[
        str | None, typer.Option(metavar="D,D…", help="torch devices, one worker each: cuda:0,cuda:1.")
    ] = None
    runner: Annotated[Literal["local", "ray"], typer.Option(help="Where workers run.")] = "local"
    ray_address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Ray cluster; default: Ray on this machine.")
    ] = None
    upsampler: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Upsampler; repeat for further stages.")
    ] = None
    weights: Annotated[str, typer.Option(help="averaged, raw, or rates of averages.")] = "averaged"
    over: Annotated[
        Literal["checkpoints"] | None, typer.Option(help="checkpoints: every checkpoint of each --base.")
    ] = None
    suite: Annotated[str, typer.Option(help="smoke, dev, full, or a suite's .jsonl.")] = "smoke"
    limit: int | None = count_option(None, "Only the first prompts of the suite, a fair mix of kinds.")
    weaker: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A weaker model, to be guided away from.")
    ] = None
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures that are sampled together.")] = 16
    reference: Reference = None


@dataclass(frozen=True, kw_only=True)
class SweepFlags(ScoringFlags, AxisFlags, MakerFlags):
    """A whole sweep. Help shows a dataclass's last base first: makers, axes, reading and scoring."""

    def job(self) -> SweepJob:
        """What a sweep takes."""
        return SweepJob(
            bases=self.base or (),
            diffusers=self.diffusers,
            pipeline=self._pipeline(),
            spread=Spread(
                workers=self.workers,
                devices=tuple(self.devices.split(",")) if self.devices else (),
                runner=self.runner,
                ray_address=self.ray_address,
            ),
            upsamplers=self.upsampler or (),
            weaker=self.weaker,
            weights=[parse_weights(part) for part in self.weights.split(",")],
            over=self.over,
            suite=self.suite,
            limit=self.limit,
            batch_size=self.batch_size,
            reference=self.reference,
            sweep=self.sweep_options(),
        )

    def _pipeline(self) -> DiffusersOptions:
        if self.diffusers is None:
            if self.steps is not None or self.size_px is not None:
                raise InputError(
                    "--steps and --size are for --diffusers", "A cascade takes --sampler NAME:STEPS."
                )
            return DiffusersOptions()
        for name in _CASCADE_ONLY:
            if getattr(self, name) is not None:
                raise InputError(
                    f"--{name.replace('_', '-')} is for --base",
                    "A diffusers pipeline takes --steps, --guidance and --size.",
                )
        return DiffusersOptions(
            steps=whole_numbers(self.steps) or (None,),
            guidance=floats(self.guidance) or (None,),
            size_px=self.size_px,
        )
