"""Options for the axes of a sweep over a cascade."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import typer

from eval.commands.numbers import floats
from eval.sweep.options import SweepOptions, make_sweep, read_sweep

__all__ = ["AxisFlags"]


@dataclass(frozen=True, kw_only=True)
class AxisFlags:
    """What is swept; lists are comma-separated or given several times."""

    sampler: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:STEPS",
            help="Sampler; repeat it. NAME@LIST takes a step list of the parent project: ddim@ddim50, "
            "ddpm@10,20,30.",
        ),
    ] = None
    guidance: Annotated[
        str | None, typer.Option(metavar="S,S…", help="Guidance scales of the text; 1 = none, the default.")
    ] = None
    guidance_capt: Annotated[
        str | None, typer.Option(metavar="S,S…", help="Guidance scales of the caption; default: the text's.")
    ] = None
    eta: Annotated[
        str | None, typer.Option(metavar="E,E…", help="Ancestral noise of ddim and prk; default 0.")
    ] = None
    dynamic_threshold: Annotated[
        str | None, typer.Option(metavar="Q,Q…", help="Quantiles of dynamic thresholding; default: clamp.")
    ] = None
    guidance_rescale: Annotated[
        str | None, typer.Option(metavar="R,R…", help="How far a guided picture's contrast is brought back.")
    ] = None
    autoguidance: Annotated[
        str | None, typer.Option(metavar="S,S…", help="Guidance away from the model of --weaker; 1 = none.")
    ] = None
    noise_level: Annotated[
        str | None, typer.Option(metavar="N,N…", help="Noise on the upsamplers' small picture.")
    ] = None
    upsampler_sampler: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME:STEPS", help="Sampler of the upsamplers; repeat it. Default: the base's."),
    ] = None
    upsampler_guidance: Annotated[
        str | None, typer.Option(metavar="S,S…", help="Guidance scales of the upsamplers; default 1.")
    ] = None
    upsampler_eta: Annotated[
        str | None, typer.Option(metavar="E,E…", help="As --eta, for the upsamplers.")
    ] = None
    upsampler_dynamic_threshold: Annotated[
        str | None, typer.Option(metavar="Q,Q…", help="As --dynamic-threshold, for the upsamplers.")
    ] = None
    upsampler_consistency: Annotated[
        str | None,
        typer.Option(metavar="W,W…", help="How far upsamplers are held to their small picture, 0 to 1."),
    ] = None
    sweep: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Axes in TOML, guidance_interval and clamp too; options come before it."
        ),
    ] = None

    def sweep_options(self) -> SweepOptions:
        """The axes of the file, options before it."""
        given = {
            field.name: getattr(self, field.name) for field in fields(AxisFlags) if field.name != "sweep"
        }
        axes = {
            name: floats(value) if isinstance(value, str) else tuple(value)
            for name, value in given.items()
            if value not in (None, [])
        }
        return make_sweep(({} if self.sweep is None else read_sweep(self.sweep)) | axes)
