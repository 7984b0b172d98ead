"""The command `txtdiff-eval`, also installed as `eval` and `report`. No logic: options in, one call."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from datatools.console import EXIT_SOME_FAILED, count_option, messages, run_app
from datatools.flags import flags
from eval.comparison import compare_settings, comparison_lines
from eval.counts import Counts
from eval.normalise import Normaliser
from eval.options import compat_lines, floats, parse_weights, query_lines
from eval.report.writing import OutputFormat, ReportOptions, write_report
from eval.score_options import ScoreOptions, other_networks
from eval.store import open_store
from eval.sweep_job import SweepJob
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

    ocr: Annotated[str, typer.Option(metavar="NAME", help="Reader: rapidocr, easyocr or tesseract.")] = (
        "rapidocr"
    )
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
        return ScoreOptions(self.normaliser, self.min_confidence, clip, other_networks(self.fd or ()))


@dataclass(frozen=True, kw_only=True)
class SweepFlags(ScoringFlags):
    """What is swept; lists are comma-separated or given several times, every combination is a setting."""

    base: Annotated[
        list[Path], typer.Option(metavar="DIR", help="Run or checkpoint; repeat to compare several.")
    ]
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
            bases=self.base,
            upsamplers=self.upsampler or (),
            weights=parse_weights(self.weights),
            over=self.over,
            suite=self.suite,
            limit=self.limit,
            batch_size=self.batch_size,
            reference=self.reference,
            sweep=self._sweep(),
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

    _finish(run_sweep(store, flags.job(), flags.ocr, flags.options()), store)


@app.command()
@flags(ScoringFlags)
def score(
    folder: Annotated[Path, typer.Argument(help="Pictures that any model made.")],
    *,
    prompts: Annotated[
        Path,
        typer.Option(metavar="FILE", help='JSON Lines: {"file": "a.png", "txt": "the text"} per picture.'),
    ],
    store: StoreFile,
    name: Annotated[str | None, typer.Option(help="The row's name; default: the folder's.")] = None,
    reference: Reference = None,
    flags: ScoringFlags,
) -> None:
    """Score pictures that somebody else's model made."""
    from eval.jobs import score_folder

    counts = score_folder(store, folder, prompts, name, reference, flags.ocr, flags.options())
    _finish(counts, store)


@app.command()
@flags(ScoringFlags)
def calibrate(
    *,
    store: StoreFile,
    size: Annotated[
        int | None, typer.Option(min=16, metavar="PX", help="Default: the pictures' own.")
    ] = None,
    flags: ScoringFlags,
) -> None:
    """Measure the reader: what it reads of the same texts typeset, and what it invents.

    Adds EM relative to that ceiling, EM corrected for both faults, and EM on texts it surely reads.
    """
    from datatools.ocr import open_engine
    from eval.calibrate_job import calibrate as calibrate_reader

    options, engine = flags.options(), open_engine(flags.ocr)
    with open_store(store, "update") as opened:
        calibrate_reader(opened, engine, options, size)
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


def _finish(counts: Counts, store: Path) -> None:
    _tell_where(store)
    if counts.failed:
        raise typer.Exit(EXIT_SOME_FAILED)


def _tell_where(store: Path) -> None:
    messages.print(f"scores are in {store}; txtdiff-eval report --store {store} shows them", markup=False)
