"""The command `datatools`. No logic: options in, one call, what it says out.

What does the work is imported by the command that asks for it, once its options and its catalog are found
good: numpy, Arrow, DuckDB, Pillow and readers take a second, and --help or a slip of the pen needs none.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from datatools.config import BuildSettings, ExportFormat, Speaker
from datatools.console import EXIT_SOME_FAILED, count_option, plain, print_causes, run_app, say
from datatools.console.flags import OptionalValues, count_within, flags
from datatools.console.listing import LinesFormat, lines_as
from datatools.rejection import CAUSES, MAX_PIXELS, Limits
from datatools.synth.options import MAX_PICTURES, SIZES_PX, SynthOptions
from datatools.synth.profiles import PROFILES
from datatools.transcript import TranscriptSettings

if TYPE_CHECKING:
    from datatools.catalog import Catalog

__all__ = ["app", "main"]

app = typer.Typer(
    help="From any pile of pictures to a catalog of transcriptions, text boxes, scales and captions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

CatalogFile = Annotated[Path, typer.Option("--catalog", metavar="FILE", help="The catalog, a DuckDB file.")]
_DEFAULTS = BuildSettings()


class _BuildCommand(OptionalValues):
    optional = {  # noqa: RUF012 - constant
        "--write-txt": lambda word: True,
        "--retry": lambda word: set(word.split(",")) <= set(CAUSES),
    }


@dataclass(frozen=True, kw_only=True)
class BuildFlags:
    """Options of build-catalog; what they mean stands at BuildSettings."""

    ocr: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Reader; repeat it for several. Default: rapidocr."),
    ] = None
    speaker: Annotated[Speaker, typer.Option(help="Which of several readers speaks.")] = "first"
    workers: Annotated[int, typer.Option(min=1, help="Processes that read.")] = _DEFAULTS.workers
    runner: Annotated[Literal["local", "ray"], typer.Option(help="Where they run.")] = "local"
    ray_address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Ray cluster. Default: one on this machine.")
    ] = None
    write_txt: Annotated[
        str | None, typer.Option(metavar="[DIR]", help="Write .txt files beside the pictures, or below DIR.")
    ] = None
    overwrite_txt: Annotated[
        bool, typer.Option("--overwrite-txt", help="Write over .txt files of yours too; copies are kept.")
    ] = False
    sidecars: Annotated[Literal["jsonl", "fork"], typer.Option(help="Form of the sidecar files.")] = "jsonl"
    captions: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="List of captions, also a URL: JSON Lines, the fork's JSON, or Parquet. The source's "
            "captions.jsonl and .caption files are found by themselves.",
        ),
    ] = None
    retry: Annotated[
        str | None,
        typer.Option(metavar="[CAUSE,…]", help="Try failures again: all, or those of these causes."),
    ] = None
    min_confidence: Annotated[
        float, typer.Option(min=0, max=1, help="Lines below it stay out of transcription and safebox.")
    ] = _DEFAULTS.transcript.min_confidence
    characters: Annotated[
        Literal["printable", "any"],
        typer.Option(help="printable: ASCII, other characters folded or left out."),
    ] = _DEFAULTS.transcript.characters
    time_limit: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="What one picture may take.")
    ] = _DEFAULTS.time_limit_s
    memory_limit: Annotated[
        int, typer.Option(min=256, metavar="MIB", help="Memory that decoding one picture may take (Linux).")
    ] = _DEFAULTS.memory_limit_bytes // 2**20
    max_bytes: int = count_option(Limits().max_bytes, "Larger files are not decoded.")
    max_pixels: int = count_option(Limits().max_pixels, "Pictures with more pixels are not decoded.")
    max_edge: Annotated[
        int | None,
        typer.Option(
            min=Limits().min_edge_px,
            metavar="PX",
            help="Store larger pictures shrunk to this longest edge, beside the catalog, and use those. "
            "Default: as the catalog was built before.",
        ),
    ] = None
    estimate_px_scale: Annotated[
        bool,
        typer.Option(
            "--estimate-px-scale", help="Find out which pictures were enlarged, where nobody has said so."
        ),
    ] = False

    def settings(self) -> BuildSettings:
        """What the build takes."""
        return BuildSettings(
            ocr=tuple(self.ocr or _DEFAULTS.ocr),
            speaker=self.speaker,
            transcript=TranscriptSettings(min_confidence=self.min_confidence, characters=self.characters),
            limits=Limits(
                max_bytes=count_within("--max-bytes", self.max_bytes),
                max_pixels=count_within("--max-pixels", self.max_pixels, MAX_PIXELS),
            ),
            max_edge_px=self.max_edge,
            estimate_px_scale=self.estimate_px_scale,
            time_limit_s=self.time_limit,
            memory_limit_bytes=self.memory_limit * 2**20,
            workers=self.workers,
            runner=self.runner,
            ray_address=self.ray_address,
            retry=None if self.retry is None else tuple(filter(None, self.retry.split(","))),
            write_txt=None
            if self.write_txt is None
            else Path(self.write_txt)
            if self.write_txt
            else "beside",
            overwrite_txt=self.overwrite_txt,
            sidecars=self.sidecars,
            captions=tuple(self.captions or ()),
        )


@app.command("build-catalog", cls=_BuildCommand)
@flags(BuildFlags)
def build_catalog_command(
    source: Annotated[
        str,
        typer.Argument(help="Folder (read recursively), glob, list of paths (.lst), .tar shards, or a URL."),
    ],
    catalog: CatalogFile,
    flags: BuildFlags,
) -> None:
    """Read the text of every picture in a folder into a catalog; run it again to go on."""
    settings = flags.settings()
    from datatools.build import build_catalog
    from datatools.summary import tell_report

    report = build_catalog(source, catalog, settings)
    tell_report(report, catalog)
    if report.failures or (report.txt and report.txt.unwritten):
        raise typer.Exit(EXIT_SOME_FAILED)


@dataclass(frozen=True, kw_only=True)
class SynthFlags:
    """Options of synth; what they mean stands at SynthOptions."""

    n: int = count_option(SynthOptions().n, "How many pictures.")
    size: Annotated[int, typer.Option(min=SIZES_PX[0], max=SIZES_PX[1], help="Width and height.")] = (
        SynthOptions().size_px
    )
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same pictures.")] = 0
    profile: Annotated[str, typer.Option(help=f"Kind of pictures: {', '.join(PROFILES)}.")] = "plain"
    split: Annotated[
        Literal["all", "train", "test-words", "test-fonts", "test"],
        typer.Option(help="Which words and fonts; test: neither is in train."),
    ] = "all"
    fonts: Annotated[Path | None, typer.Option(metavar="DIR", help="Use the fonts in this folder.")] = None
    write_txt: Annotated[bool, typer.Option("--write-txt", help="Also a .txt beside each picture.")] = False

    def options(self) -> SynthOptions:
        """What the maker takes."""
        return SynthOptions(
            n=count_within("--n", self.n, MAX_PICTURES),
            size_px=self.size,
            seed=self.seed,
            profile=self.profile,
            split=self.split,
            fonts_dir=None if self.fonts is None else str(self.fonts),
            write_txt=self.write_txt,
        )


@app.command("synth")
@flags(SynthFlags)
def synth_command(
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    flags: SynthFlags,
) -> None:
    """Make pictures whose text, boxes and captions are known exactly."""
    options = flags.options()
    from datatools.synth import make_pictures

    n_made = make_pictures(out, options)
    say(f"{n_made} pictures, captions.jsonl and truth.jsonl are in {out}")


@app.command("stats")
def stats_command(
    catalog: CatalogFile,
    truth: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Known texts, as synth writes them. Default: truth.jsonl of the source."
        ),
    ] = None,
    duplicates: Annotated[
        bool, typer.Option("--duplicates", help="Also groups of near duplicates; slow in large catalogs.")
    ] = False,
) -> None:
    """Count and draw what is in a catalog, and the readers' recall where the truth is known."""
    with _open(catalog) as opened:
        from datatools.stats import catalog_stats, draw_stats

        for line in draw_stats(catalog_stats(opened, truth, duplicates=duplicates)):
            typer.echo(line)


@app.command("query")
def query_command(
    sql: Annotated[str, typer.Argument(help="One statement; views are listed in docs/data-formats.md.")],
    catalog: CatalogFile,
    form: Annotated[LinesFormat, typer.Option("--format", help="How to print.")] = "table",
) -> None:
    """Ask a catalog in SQL: read-only, without access to files or network."""
    from datatools.catalog import query_catalog

    for line in lines_as(query_catalog(catalog, sql), form):
        typer.echo(line)


@dataclass(frozen=True, kw_only=True)
class ImportFlags:
    """Options of import; what they mean stands at Sources."""

    safeboxes: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Boxes, the fork's form or JSON Lines.")
    ] = None
    px_scales: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Stored / original size, likewise.")
    ] = None
    original_sizes: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Sizes before shrinking, for px scales.")
    ] = None
    captions: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="JSON Lines, the fork's JSON, or Parquet.")
    ] = None
    sidecars: Annotated[Literal["jsonl", "fork"], typer.Option(help="Form of the sidecar files.")] = "jsonl"


@app.command("import")
@flags(ImportFlags)
def import_command(
    source: Annotated[str, typer.Argument(help="Folder with pictures and their .txt files.")],
    catalog: CatalogFile,
    flags: ImportFlags,
) -> None:
    """Take over a data set that has its texts, boxes, scales and captions already; no reader is asked."""
    from datatools.importing import Sources, import_data_set
    from datatools.summary import tell_imported, tell_report

    sources = Sources(
        safeboxes=flags.safeboxes,
        px_scales=flags.px_scales,
        original_sizes=flags.original_sizes,
        captions=tuple(flags.captions or ()),
    )
    report, imported = import_data_set(source, catalog, sources, flags.sidecars)
    tell_report(report, catalog)
    tell_imported(imported)
    if report.failures:
        raise typer.Exit(EXIT_SOME_FAILED)


@app.command("export")
def export_command(
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    catalog: CatalogFile,
    form: Annotated[ExportFormat, typer.Option("--format", help="What to write.")],
    drop_duplicates: Annotated[
        bool, typer.Option("--drop-duplicates", help="One picture of each group of near duplicates.")
    ] = False,
    shard: int = count_option(1000, "Pictures in a shard of webdataset and huggingface."),
) -> None:
    """Write a catalog and its pictures for other tools."""
    count_within("--shard", shard)
    with _open(catalog) as opened:
        from datatools.export import export_catalog

        report = export_catalog(opened, out, form, drop_duplicates=drop_duplicates, shard_pictures=shard)
    say(f"{report.n_written} pictures are in {out}")
    if report.failures:
        print_causes("Pictures that were left out", report.failures)
        raise typer.Exit(EXIT_SOME_FAILED)


@app.command("pack")
def pack_command(
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    catalog: CatalogFile,
    short_edge: Annotated[int, typer.Option(min=8, metavar="PX", help="Shorter edge of a packed picture.")],
    drop_duplicates: Annotated[
        bool, typer.Option("--drop-duplicates", help="One picture of each group of near duplicates.")
    ] = False,
) -> None:
    """Shrink all pictures once, with a catalog of their own to train from."""
    with _open(catalog) as opened:
        from datatools.export.pack import pack_catalog

        report = pack_catalog(opened, out, short_edge, drop_duplicates=drop_duplicates)
    say(f"{report.n_written} pictures and catalog.duckdb are in {out}")
    if report.failures:
        print_causes("Pictures that were left out", report.failures)
        raise typer.Exit(EXIT_SOME_FAILED)


@app.command("check")
def check_command(
    catalog: CatalogFile,
    hash_files: Annotated[
        bool, typer.Option("--hash", help="Read every file and compare its sha256.")
    ] = False,
) -> None:
    """Verify a catalog against itself, its files and its sidecars."""
    counts: Counter[str] = Counter()
    with _open(catalog) as opened:
        from datatools.check import check_catalog

        for problem in check_catalog(opened, hash_files=hash_files):
            counts[problem.what] += 1
            typer.echo(plain(f"{problem.what}: {problem.key}"))
    if counts:
        print_causes("What does not hold", counts)
        raise typer.Exit(EXIT_SOME_FAILED)
    say(f"{catalog}: everything holds")


@app.command("gallery")
def gallery_command(
    catalog: CatalogFile,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The page. Default: beside the catalog, as .html."),
    ] = None,
    limit: int = count_option(500, "Pictures on the page, an even sample of the catalog."),
    thumbnail: Annotated[int, typer.Option(min=16, metavar="PX", help="Longest edge of a picture.")] = 256,
) -> None:
    """Write one static page to look at a catalog with: boxes, texts, confidence, failures."""
    count_within("--limit", limit)
    page = out or catalog.with_suffix(".html")
    with _open(catalog) as opened:
        from datatools.gallery import write_gallery

        report = write_gallery(opened, page, limit=limit, thumbnail_px=thumbnail)
    shown = f"{report.n_pictures} of {report.n_usable} pictures, {report.n_failures} failures"
    say(f"{page}: {shown}")


def _open(path: Path) -> Catalog:
    from datatools.catalog import open_catalog

    return open_catalog(path)


def main() -> None:
    """Entry point."""
    run_app(app)
