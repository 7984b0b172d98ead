"""The command `txtdiff-eval`, also installed as `eval` and `report`. No logic: options in, one call."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from datatools.console import EXIT_SOME_FAILED, count_option, messages, run_app
from datatools.errors import InputError
from datatools.flags import flags
from eval.comparison import compare_settings, comparison_lines
from eval.counts import Counts
from eval.normalise import Normaliser
from eval.options import compat_lines, floats, parse_weights, query_lines, whole_numbers
from eval.protocol import Mode
from eval.public_prompts import PromptFormat
from eval.report.writing import OutputFormat, ReportOptions, write_report
from eval.score_options import ScoreOptions, other_networks
from eval.store import open_store
from eval.sweep_job import DiffusersOptions, Spread, SweepJob
from eval.sweep_options import SweepOptions, make_sweep, read_sweep

__all__ = ["app", "main", "report_main"]

app = typer.Typer(
    help="Which checkpoint and which sampler settings really spell: sweeps, scores, a leaderboard.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

StoreFile = Annotated[
    Path, typer.Option("--store", metavar="FILE", help="The evaluation store, a DuckDB file.")
]
Reference = Annotated[
    Path | None,
    typer.Option(metavar="CATALOG", help="Catalog of real pictures, for FID and KID."),
]


@dataclass(frozen=True, kw_only=True)
class ScoringFlags:
    """How pictures are read and compared; the same for every way they were made."""

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

    def options(self) -> ScoreOptions:
        """What scoring takes."""
        clip = None if self.clip_model == "none" else (self.clip_model, self.clip_weights)
        return ScoreOptions(
            self.normaliser, self.min_confidence, clip, other_networks(self.fd or ()), self.mode
        )

    def readers(self) -> Sequence[str]:
        """Names of the readers, each once."""
        return list(dict.fromkeys(self.ocr or ["rapidocr"]))


@dataclass(frozen=True, kw_only=True)
class SweepFlags(ScoringFlags):
    """What is swept; lists are comma-separated or given several times, every combination is a setting."""

    base: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Run or checkpoint; repeat to compare several.")
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
    sampler: Annotated[list[str] | None, typer.Option(metavar="NAME:STEPS", help="Sampler; repeat it.")] = (
        None
    )
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
    noise_level: Annotated[
        str | None, typer.Option(metavar="N,N…", help="Noise on the upsamplers' small picture.")
    ] = None
    upsampler_sampler: Annotated[
        str | None, typer.Option(metavar="NAME:STEPS", help="Sampler of the upsamplers; default: the base's.")
    ] = None
    upsampler_guidance: Annotated[
        float | None, typer.Option(help="Guidance scale of the upsamplers; default 1.")
    ] = None
    sweep: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Axes in TOML; options given besides come before it.")
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
            weights=parse_weights(self.weights),
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
            "noise_level": floats(self.noise_level),
            "upsampler_sampler": self.upsampler_sampler,
            "upsampler_guidance": self.upsampler_guidance,
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


@app.command()
@flags(SweepFlags)
def run(*, store: StoreFile, flags: SweepFlags) -> None:
    """Sample, read and score a sweep: every sampler with every guidance on every prompt of a suite.

    Each picture is kept as it is made; a killed run, started again, goes on from there.
    """
    # Networks and readers take seconds to import, which reports and queries need not wait for.
    from eval.jobs import run_sweep

    _finish(run_sweep(store, flags.job(), flags.readers(), flags.options()), store)


@app.command()
@flags(ScoringFlags)
def score(
    folder: Annotated[Path, typer.Argument(help="Pictures that any model made.")],
    *,
    prompts: Annotated[
        Path,
        typer.Option(metavar="FILE", help='JSON Lines: {"file": "a.png", "txt": "the text"} per picture.'),
    ],
    prompt_format: Annotated[
        PromptFormat,
        typer.Option(
            help="Whose prompts file it is: ours (jsonl), truth.jsonl of datatools synth, or a benchmark's "
            "own: MARIO-Eval, AnyText-benchmark, SimpleBench or CreativeBench (glyphcontrol), DrawText, "
            "LongText-Bench. auto: told by its content."
        ),
    ] = "auto",
    store: StoreFile,
    name: Annotated[str | None, typer.Option(help="The row's name; default: the folder's.")] = None,
    reference: Reference = None,
    flags: ScoringFlags,
) -> None:
    """Score pictures that somebody else's model made."""
    from eval.jobs import score_folder

    counts = score_folder(
        store, folder, prompts, name, reference, flags.readers(), flags.options(), prompt_format
    )
    _finish(counts, store)


@app.command()
@flags(ScoringFlags)
def calibrate(
    *,
    store: StoreFile,
    size: Annotated[
        int | None, typer.Option(min=16, metavar="PX", help="Default: the pictures' own.")
    ] = None,
    audit_sheet: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Only write a blind sheet of 100 pictures for a person to read."),
    ] = None,
    audit: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Only take in a filled sheet, and judge the readers by it."),
    ] = None,
    auditor: Annotated[str, typer.Option(help="Who filled the sheet.")] = "human",
    flags: ScoringFlags,
) -> None:
    """Measure the reader: what it reads of the same texts typeset, and what it invents.

    Adds EM relative to that ceiling, EM corrected for both faults, and EM on texts it surely reads. With
    --audit-sheet and --audit a person is the judge: kappa, and how often the reader misses or invents.
    """
    if audit_sheet is not None or audit is not None:
        _audit(store, audit_sheet, audit, auditor)
        return
    from datatools.ocr import open_engine
    from eval.calibrate_job import calibrate as calibrate_reader

    options, engines = flags.options(), [open_engine(name) for name in flags.readers()]
    with open_store(store, "update") as opened:
        calibrate_reader(opened, engines, options, size)
    _tell_where(store)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="Label or id of a setting: the baseline.")],
    b: Annotated[str, typer.Argument(help="Label or id of the setting compared with it.")],
    *,
    store: StoreFile,
    baseline_store: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Store that A is in, where it is another one.")
    ] = None,
    flips: Annotated[int, typer.Option(min=0, help="How many pictures to list that only one side got.")] = 5,
    fail_if_worse: Annotated[
        bool, typer.Option("--fail-if-worse", help="Exit with 1 when B is worse than A beyond chance.")
    ] = False,
) -> None:
    """Compare two settings on the same prompts and noise: difference, interval, p, pictures that flip."""
    with ExitStack() as stores:
        store_b = stores.enter_context(open_store(store))
        store_a = store_b if baseline_store is None else stores.enter_context(open_store(baseline_store))
        comparison = compare_settings(store_a, a, store_b, b)
    for line in comparison_lines(comparison, flips):
        typer.echo(line)
    if fail_if_worse and comparison.is_worse:
        raise typer.Exit(EXIT_SOME_FAILED)


@app.command()
@flags(ReportFlags)
def report(*, store: StoreFile, flags: ReportFlags) -> None:
    """Show the leaderboard: a table, a page, or a file for papers and programs."""
    failing = write_report(store, flags.options())
    if failing:
        raise typer.Exit(EXIT_SOME_FAILED)


@app.command()
def compat(*, store: StoreFile) -> None:
    """Print the scores that other benchmarks define, quirks kept: MARIO, AnyText, GlyphControl, STRICT, …"""
    with open_store(store) as opened:
        for line in compat_lines(opened):
            typer.echo(line)


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="One SELECT over the tables of the store.")],
    *,
    store: StoreFile,
) -> None:
    """Ask the store in SQL: samples, readings, text_scores, scores, settings, prompts, runs."""
    with open_store(store) as opened:
        for line in query_lines(opened, sql):
            typer.echo(line)


def main() -> None:
    """Entry point of txtdiff-eval and eval."""
    run_app(app)


def report_main() -> None:
    """Entry point of report: `eval report …` typed in a shell runs it, because eval is a shell builtin."""
    commands = {
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    }
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.argv.insert(1, "report")
    run_app(app)


def _audit(store: Path, sheet: Path | None, answers: Path | None, auditor: str) -> None:
    from eval.audit import audit_lines, import_audit, write_audit_sheet

    if sheet is not None:
        with open_store(store) as opened:
            n = write_audit_sheet(opened, sheet)
        messages.print(f"{sheet}/audit.html and audit.csv: {n} pictures to read", markup=False)
    if answers is not None:
        with open_store(store, "update") as opened:
            import_audit(opened, answers, auditor)
            for line in audit_lines(opened, auditor):
                typer.echo(line)


def _finish(counts: Counts, store: Path) -> None:
    _tell_where(store)
    if counts.failed:
        raise typer.Exit(EXIT_SOME_FAILED)


def _tell_where(store: Path) -> None:
    messages.print(f"scores are in {store}; txtdiff-eval report --store {store} shows them", markup=False)
