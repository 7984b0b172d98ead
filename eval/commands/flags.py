"""The options of `txtdiff-eval`, a dataclass for each group of them, and what they ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from datatools.console import count_option
from datatools.errors import InputError
from eval.commands.numbers import floats, whole_numbers
from eval.networks.names import other_networks
from eval.reading.protocol import Mode
from eval.report.writing import OutputFormat, ReportOptions
from eval.scoring.options import ScoreOptions
from eval.sweep.job import DiffusersOptions, Spread, SweepJob
from eval.sweep.options import SweepOptions, make_sweep, read_sweep
from eval.text_metrics.normalisers import Normaliser
from txtdiff.which_weights import parse_weights

__all__ = ["ReadingFlags", "Reference", "ReportFlags", "ScoringFlags", "SweepFlags"]

Reference = Annotated[
    Path | None,
    typer.Option(metavar="CATALOG", help="Catalog of real pictures, for FID and KID."),
]


@dataclass(frozen=True, kw_only=True)
class ReadingFlags:
    """How pictures are read and compared with what was asked for."""

    ocr: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Reader: rapidocr (default), easyocr or tesseract. Repeat it: each makes rows of its own, "
            "and how far they agree is told.",
        ),
    ] = None
    mode: Annotated[
        Mode,
        typer.Option(
            help="e2e: the reader finds the text. box: its recogniser is shown where each line stands, which "
            "the prompts file says. The two are never ranked together."
        ),
    ] = "e2e"
    normaliser: Annotated[Normaliser, typer.Option(help="What counts as the same text in error rates.")] = (
        "ci"
    )
    min_confidence: Annotated[
        float, typer.Option(min=0, max=1, help="Lines that the reader is less sure of are not counted.")
    ] = 0.5

    def options(self) -> ScoreOptions:
        """What scoring takes."""
        return ScoreOptions(self.normaliser, self.min_confidence, mode=self.mode)

    def readers(self) -> Sequence[str]:
        """Names of the readers, each once."""
        return list(dict.fromkeys(self.ocr or ["rapidocr"]))


@dataclass(frozen=True, kw_only=True)
class ScoringFlags(ReadingFlags):
    """How pictures are scored; the same for every way they were made."""

    clip_model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="open_clip architecture that scores agreement; tiny: this package's; none: not scored.",
        ),
    ] = "ViT-B-32"
    clip_weights: Annotated[
        str, typer.Option(metavar="TAG|FILE", help="Its weights: open_clip's tag, or a file.")
    ] = "laion2b_s34b_b79k"
    fd: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Also the Fréchet distance over features of efficientnet or dinov2; repeat it.",
        ),
    ] = None
    seen_words: Annotated[
        Path | None,
        typer.Option(
            metavar="CATALOG",
            help="What the model was trained on: EM apart for texts whose words all stand there, and for "
            "the others. Default: the catalog that --base names.",
        ),
    ] = None

    def options(self) -> ScoreOptions:
        """What scoring takes."""
        return replace(
            super().options(),
            clip=None if self.clip_model == "none" else (self.clip_model, self.clip_weights),
            other_networks=other_networks(self.fd or ()),
            seen_words=self.seen_words,
        )


_CASCADE_ONLY = (
    "upsampler",
    "over",
    "sampler",
    "guidance_capt",
    "eta",
    "dynamic_threshold",
    "guidance_rescale",
    "autoguidance",
    "weaker",
    "noise_level",
    "upsampler_sampler",
    "upsampler_guidance",
    "upsampler_eta",
    "upsampler_dynamic_threshold",
    "sweep",
)


@dataclass(frozen=True, kw_only=True)
class SweepFlags(ScoringFlags):
    """What is swept; lists are comma-separated or given several times, every combination is a setting."""

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
    weaker: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A weaker model, to be guided away from.")
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
    sweep: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Axes in TOML, guidance_interval and clamp too; options come before it."
        ),
    ] = None
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures that are sampled together.")] = 16
    reference: Reference = None

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
            sweep=self._sweep(),
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

    def _sweep(self) -> SweepOptions:
        given = {
            "sampler": tuple(self.sampler) if self.sampler else None,
            "guidance": floats(self.guidance),
            "guidance_capt": floats(self.guidance_capt),
            "eta": floats(self.eta),
            "dynamic_threshold": floats(self.dynamic_threshold),
            "guidance_rescale": floats(self.guidance_rescale),
            "autoguidance": floats(self.autoguidance),
            "noise_level": floats(self.noise_level),
            "upsampler_sampler": tuple(self.upsampler_sampler) if self.upsampler_sampler else None,
            "upsampler_guidance": floats(self.upsampler_guidance),
            "upsampler_eta": floats(self.upsampler_eta),
            "upsampler_dynamic_threshold": floats(self.upsampler_dynamic_threshold),
        }
        axes = {} if self.sweep is None else read_sweep(self.sweep)
        return make_sweep(axes | {name: value for name, value in given.items() if value is not None})


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
        typer.Option("--filter", metavar="CONDITION", help="Rows to show: 'sampler = ddim'; repeat it."),
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
