"""What a build says when it is done."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from datatools.build import BuildReport
from datatools.console import print_causes, say
from datatools.importing import Imported
from datatools.sidecars import Matched
from datatools.sidecars.captions import CaptionReport

__all__ = ["tell_imported", "tell_report"]

_SHOWN = 5  # names of a kind; the counts are complete


def tell_report(report: BuildReport, catalog: Path) -> None:
    """Counts, what could not be used and why, where the files are."""
    # Imports and estimates of px scales need pictures, but no reader.
    verb = "looked at" if report.n_read and report.reading_share is None else "read"
    parts = [f"{report.n_found} pictures: {report.n_read} {verb}", f"{report.n_unchanged} unchanged"]
    parts += [f"{report.n_reused} taken over from equal files"] if report.n_reused else []
    parts += [f"{report.n_removed} gone"] if report.n_removed else []
    parts += [f"{report.n_given} with a given text"] if report.n_given else []
    say(f"{', '.join(parts)}. Catalog: {catalog}")
    if report.reading_share is not None:
        say(f"{100 * report.reading_share:.0f} % of the workers' time was spent reading")
    if report.px_scales:
        say("px scales: " + ", ".join(f"{n} {source}" for source, n in report.px_scales.items()))
    for captions in report.captions:
        _tell_captions(captions)
    if report.caption_files.n_files:
        say(f"captions: {report.caption_files.n_files} .caption files, {report.caption_files.n_read} new")
    refused = [f"{path} ({reason})" for path, reason in report.caption_files.refused.items()]
    _tell_names(".caption files cannot be used", refused)
    if report.txt is not None:
        say(
            f".txt: {report.txt.n_written} written, {report.txt.n_current} as they should be, "
            f"{report.txt.n_given} of yours left alone"
        )
        _tell_names("pictures share a .txt with another, none was written for them", report.txt.shared)
        _tell_unwritten(report.txt.unwritten)
    _tell_shared(report.shared_stems)
    if report.failures:
        print_causes("Pictures that could not be used", report.failures)
        ask = shlex.join(["datatools", "query", "SELECT * FROM failures", "--catalog", str(catalog)])
        say(f"`{ask}` names them; --retry tries them again.")


def _tell_unwritten(causes: dict[str, str]) -> None:
    if causes:
        _tell_names(".txt files could not be written", list(causes))
        print_causes("Why not", Counter(causes.values()))


def tell_imported(files: Sequence[Imported]) -> None:
    """What files of somebody else brought, and what of them fits no picture."""
    for file in files:
        say(f"{file.what}: {len(file.matched.values)} pictures from {file.path}")
        _tell_matched(file.path, file.matched)


def _tell_captions(report: CaptionReport) -> None:
    say(f"captions: {report.n_captions} for {report.n_pictures} pictures from {report.path}")
    _tell_matched(report.path, report.matched)


def _tell_matched(path: str | Path, matched: Matched) -> None:
    _tell_names(f"names in {path} are no picture of this source", matched.unmatched)
    _tell_shared(matched.shared)


def _tell_shared(shared: dict[str, list[str]]) -> None:
    names = [f"{stem} ({', '.join(keys)})" for stem, keys in shared.items()]
    _tell_names("stems are shared by several pictures, which were left out", names)


def _tell_names(what: str, names: list[str]) -> None:
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        say(f"warning: {len(names)} {what}: {', '.join(names[:_SHOWN])}{more}")
