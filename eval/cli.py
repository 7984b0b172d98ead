"""The command `txtdiff-eval`, also installed as `eval` and `report`. No logic: options in, one call.

What does the work is imported by the command that asks for it, once its options and its store are found good:
pandas, readers and networks take seconds, and --help or a slip of the pen needs none.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from datatools.console import EXIT_SOME_FAILED, run_app, say
from datatools.console.flags import flags
from datatools.console.listing import LinesFormat
from datatools.errors import InputError
from eval.commands.report_flags import ReportFlags
from eval.commands.scoring_flags import ReadingFlags, Reference, ScoringFlags
from eval.commands.sweep_flags import SweepFlags
from eval.suites.public_prompts import PromptFormat

if TYPE_CHECKING:
    from eval.store import Store
    from eval.store.counts import Counts

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

Form = Annotated[
    LinesFormat,
    typer.Option("--format", help="How it is printed; a table cuts long values, csv and jsonl hold all."),
]


@app.command()
@flags(SweepFlags)
def run(*, store: StoreFile, flags: SweepFlags) -> None:
    """Sample, read and score a sweep: every sampler with every guidance on every prompt of a suite.

    Each picture is kept as it is made; a killed run, started again, goes on from there.
    """
    job, options = flags.job(), flags.options()
    from eval.commands.jobs import run_sweep

    _finish(run_sweep(store, job, flags.readers(), options), store)


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
    options = flags.options()
    from eval.commands.jobs import score_folder

    counts = score_folder(store, folder, prompts, name, reference, flags.readers(), options, prompt_format)
    _finish(counts, store)


@app.command()
@flags(ReadingFlags)
def calibrate(
    *,
    store: StoreFile,
    size: Annotated[
        int | None, typer.Option(min=16, metavar="PX", help="Default: the pictures' own.")
    ] = None,
    upsampler: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="CHECKPOINT",
            help="Send typeset text through this upsampler too, as rows of the store were enlarged: what it "
            "loses by itself. Repeat it for a longer cascade, smallest first.",
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Where upsamplers work: cpu, cuda, cuda:1; default: a GPU, if any.")
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
    flags: ReadingFlags,
) -> None:
    """Measure the reader: what it reads of the same texts typeset, and what it invents.

    Prints both, by length of the text, height of its letters and charset, and adds to the board EM relative
    to that ceiling, EM corrected for both faults, and EM on texts it surely reads. With --audit-sheet and
    --audit a person is the judge: kappa, and how often the reader misses or invents.
    """
    if device is not None and not upsampler:
        raise InputError("--device does nothing without --upsampler", "Readers choose their own device.")
    if audit_sheet is not None or audit is not None:
        if upsampler:
            raise InputError("--upsampler has no part in an audit", "Leave it out, or calibrate first.")
        _audit(store, audit_sheet, audit, auditor)
        return
    options = flags.options()
    with _open(store, "update") as opened:
        from datatools.ocr import open_engine
        from eval.calibration.job import calibrate as calibrate_reader

        engines = [open_engine(name) for name in flags.readers()]
        for line in calibrate_reader(opened, engines, options, size, upsampler or (), device or "auto"):
            typer.echo(line)
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
        bool,
        typer.Option(
            "--fail-if-worse", help="Exit with 1 when B is worse than A beyond chance, by any reader."
        ),
    ] = False,
) -> None:
    """Compare two settings on the same prompts and noise: difference, interval, p, pictures that flip.

    Where both were read in several ways, by two readers or under two normalisers, they are compared in each.
    """
    with ExitStack() as stores:
        store_b = stores.enter_context(_open(store))
        store_a = store_b if baseline_store is None else stores.enter_context(_open(baseline_store))
        from eval.leaderboard.comparison import compare_settings, comparison_lines

        comparisons = compare_settings(store_a, a, store_b, b)
    for i, comparison in enumerate(comparisons):
        for line in (*[""] * bool(i), *comparison_lines(comparison, flips)):
            typer.echo(line)
    if fail_if_worse and any(comparison.is_worse for comparison in comparisons):
        raise typer.Exit(EXIT_SOME_FAILED)


@app.command()
@flags(ReportFlags)
def report(*, store: StoreFile, flags: ReportFlags) -> None:
    """Show the leaderboard: a table, a page, or a file for papers and programs."""
    options = flags.options()
    _open(store).close()
    from eval.report.writing import write_report

    if write_report(store, options):
        raise typer.Exit(EXIT_SOME_FAILED)


@app.command()
def suites(
    name: Annotated[
        str | None, typer.Argument(help="A suite, or a benchmark's prompts file: its kinds of text.")
    ] = None,
    *,
    form: Form = "table",
) -> None:
    """List the suites that come along, or the kinds of text that one asks for."""
    from eval.suites.listing import kinds_lines, suites_lines

    for line in suites_lines(form) if name is None else kinds_lines(name, form):
        typer.echo(line)


@app.command()
def compat(*, store: StoreFile, form: Form = "table") -> None:
    """Print the scores that other benchmarks define, quirks kept: MARIO, AnyText, GlyphControl, STRICT, …"""
    with _open(store) as opened:
        from eval.store.lines import compat_lines

        for line in compat_lines(opened, form):
            typer.echo(line)


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="One SELECT over the tables of the store.")],
    *,
    store: StoreFile,
    form: Form = "table",
) -> None:
    """Ask the store in SQL: samples, readings, text_scores, scores, settings, prompts, runs."""
    with _open(store) as opened:
        from eval.store.lines import query_lines

        for line in query_lines(opened, sql, form):
            typer.echo(line)


def _open(store: Path, mode: Literal["read", "update"] = "read") -> Store:
    from eval.store import open_store

    return open_store(store, mode)


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
    if sheet is not None:
        with _open(store) as opened:
            from eval.calibration.audit import write_audit_sheet

            n = write_audit_sheet(opened, sheet)
        say(f"{sheet}/audit.html and audit.csv: {n} pictures to read")
    if answers is not None:
        with _open(store, "update") as opened:
            from eval.calibration.audit import audit_lines, import_audit

            import_audit(opened, answers, auditor)
            for line in audit_lines(opened, auditor):
                typer.echo(line)


def _finish(counts: Counts, store: Path) -> None:
    _tell_where(store)
    if counts.failed:
        raise typer.Exit(EXIT_SOME_FAILED)


def _tell_where(store: Path) -> None:
    say(f"scores are in {store}; txtdiff-eval report --store {store} shows them")
