"""A folder of pictures -> a catalog: plan, read, commit, and go on where an earlier build stopped."""

from __future__ import annotations

import importlib.metadata
import json
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from datatools.bookkeeping.plan import Plan, make_plan, register_readers
from datatools.bookkeeping.record import Recorder
from datatools.bookkeeping.speak import SpeakingRule, rule_to_json
from datatools.catalog import Catalog, open_catalog
from datatools.catalog.limits import widen_limits
from datatools.config import BuildSettings
from datatools.console import progress
from datatools.errors import InputError
from datatools.files.sources import is_remote
from datatools.ocr import check_reader
from datatools.runner import LocalRunner, Runner
from datatools.scan import Listing, scan
from datatools.shrink import PictureStore
from datatools.sidecars import Sidecar, write_sidecars
from datatools.sidecars.caption_files import CaptionFiles, sync_caption_files
from datatools.sidecars.captions import CaptionReport, import_captions, read_captions
from datatools.sidecars.texts import TxtReport, check_txt_target, sync_texts, write_texts
from datatools.worker.reading import Outcome, ReaderIdentity, Task, WorkerSetup

__all__ = ["BuildReport", "build_catalog"]

ReadingRunner = Runner[Task, Outcome, ReaderIdentity]


@dataclass(slots=True)
class BuildReport:
    """What a build did and what stands in the catalog now."""

    n_found: int = 0
    n_unchanged: int = 0
    n_read: int = 0
    n_reused: int = 0
    """Same bytes as a catalogued picture: its reading was taken over."""
    n_removed: int = 0
    """Rows whose file is gone."""
    reading_share: float | None = None
    """The part of the workers' time that was spent inside readers, 0 to 1; None when no reader was asked."""
    failures: dict[str, int] = field(default_factory=dict)
    """Failures that stand in the catalog, by cause, those of earlier builds included."""
    n_given: int = 0
    """Pictures whose own .txt speaks."""
    px_scales: dict[str, int] = field(default_factory=dict)
    """Px scales that stand in the catalog, by source: given, shrunk, estimated (0 too, if asked for)."""
    txt: TxtReport | None = None
    captions: list[CaptionReport] = field(default_factory=list)
    """Of lists."""
    caption_files: CaptionFiles = field(default_factory=CaptionFiles)
    shared_stems: dict[str, list[str]] = field(default_factory=dict)
    """Stems that several pictures share, where the fork's form was asked for."""


def build_catalog(
    source: str | Path, catalog_path: str | Path, settings: BuildSettings | None = None, *, opener: str = ""
) -> BuildReport:
    """Read every picture of `source` that the catalog does not have yet.

    Interrupting commits what is done; a second call continues. Nothing is lost but the batch in hand when the
    process is killed.

    Args:
        source: folder with the pictures.
        catalog_path: DuckDB file, made if it is not there.
        settings: None for the defaults.
        opener: "module:function" that opens readers in place of `open_engine`.

    Raises:
        InputError: source, catalog or a reader cannot be used; nothing was damaged.
    """
    settings = settings or BuildSettings()
    if settings.overwrite_txt and settings.write_txt is None:
        raise InputError("--overwrite-txt has no effect without --write-txt", "Give both.")
    for name in () if opener else settings.ocr:  # a slip of the pen leaves no empty catalog behind
        check_reader(name)
    listing = scan(source)
    if settings.write_txt == "beside" and not listing.writable:
        raise InputError(
            f"{listing.root} is no folder to write .txt files into", "Give --write-txt a folder."
        )
    if settings.write_txt is not None:
        check_txt_target(listing.root, settings.write_txt)
    with open_catalog(catalog_path, "write") as catalog:
        _check_source(catalog, listing.root)
        if settings.max_edge_px is None and (before := catalog.info("max_edge_px")) is not None:
            settings = replace(settings, max_edge_px=int(before))
        runner = _runner(settings, opener)
        try:
            return _build(catalog, listing, settings, runner)
        finally:
            runner.stop()


def _runner(settings: BuildSettings, opener: str) -> ReadingRunner:
    setup = WorkerSetup(
        engines=settings.ocr,
        limits=settings.limits,
        opener=opener,
        max_edge_px=settings.max_edge_px,
        estimate_px_scale=settings.estimate_px_scale,
        memory_limit_bytes=settings.memory_limit_bytes,
    )
    if settings.runner == "local":
        return LocalRunner(setup, settings.workers, settings.time_limit_s)
    from datatools.runner.ray import RayRunner  # an extra: Ray need not be installed

    return RayRunner(setup, settings.workers, settings.time_limit_s, settings.ray_address)


def _check_source(catalog: Catalog, root: str) -> None:
    """One catalog, one source: another folder's files would look like all pictures gone and new ones come."""
    before = catalog.info("source")
    if before is not None and before != root and (is_remote(before) or Path(before).exists()):
        raise InputError(
            f"{catalog.path} is the catalog of {before}, not of {root}",
            "Give each source a catalog of its own.",
        )


def _build(catalog: Catalog, listing: Listing, settings: BuildSettings, runner: ReadingRunner) -> BuildReport:
    captions = _read_captions(listing, settings)
    readers = register_readers(catalog, runner.start(_n_at_once(catalog, listing, settings)))
    rule = SpeakingRule(settings.speaker, settings.ocr, settings.transcript)
    recorder = Recorder(catalog, _begin(catalog, listing, settings), readers, rule)
    report = BuildReport(n_found=len(listing.images) + len(listing.unnamed))
    try:
        recorder.commit_refused([(image, "bad_name", reason) for image, reason in listing.unnamed])
        was_cut_short = catalog.info("speaking") == "begun"  # killed before _respeak was through
        if not was_cut_short:
            catalog.set_info("speaking", "begun")
        texts_changed = sync_texts(catalog, listing, overrule=settings.overwrite_txt)
        plan = make_plan(catalog, listing, readers, settings)
        report.n_unchanged = plan.n_unchanged
        _respeak(recorder, texts_changed, everything=was_cut_short)
        _read(recorder, plan, settings, runner, report)
        recorder.remove(plan.vanished)
        report.n_removed = plan.vanished.num_rows
    except KeyboardInterrupt:
        _finish(catalog, listing, settings, captions, report)
        _end(catalog, recorder.build, "interrupted", report)
        raise
    except InputError:  # a full disk, which may have room for this
        with suppress(InputError):
            _end(catalog, recorder.build, "stopped", report)
        raise
    try:
        _finish(catalog, listing, settings, captions, report)
    except (InputError, KeyboardInterrupt):  # all rows are there, what is made from them is not
        _end(catalog, recorder.build, "interrupted", report)
        raise
    _end(catalog, recorder.build, "finished", report)
    return report


def _n_at_once(catalog: Catalog, listing: Listing, settings: BuildSettings) -> int:
    """Workers that surely have something to do: they open their readers side by side, others later."""
    n_new = len(listing.images) - int(catalog.value("SELECT count(*) FROM store.pictures"))
    return max(1, min(settings.workers, n_new // settings.chunk_pictures))


def _begin(catalog: Catalog, listing: Listing, settings: BuildSettings) -> int:
    build = int(catalog.value("SELECT COALESCE(max(build), 0) + 1 FROM store.builds"))
    row = {
        "build": build,
        "started_at": datetime.now(UTC).replace(tzinfo=None),
        "outcome": "running",
        "source": listing.root,
        "settings": json.dumps(asdict(settings), default=str),
        "program": _program(),
        "n_found": len(listing.images) + len(listing.unnamed),
    }
    with catalog.transaction():
        catalog.set_info("source", listing.root)
        if settings.max_edge_px is not None:
            catalog.set_info("max_edge_px", str(settings.max_edge_px))
        widen_limits(catalog, settings.limits)
        catalog.execute("UPDATE store.builds SET outcome = 'died' WHERE outcome = 'running'")
        catalog.append("builds", catalog.table("builds", [row]))
    return build


def _program() -> str:
    try:
        return f"txtdiff {importlib.metadata.version('txtdiff')}"
    except importlib.metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "txtdiff, not installed"


def _respeak(recorder: Recorder, texts_changed: Sequence[str], *, everything: bool) -> None:
    """Derive again what depends on a .txt that changed, or all when the rule has changed or is asked for."""
    rule = rule_to_json(recorder.rule)
    everything = everything or recorder.catalog.info("rule") != rule
    # Pictures that are new speak when they are committed.
    wanted = "true" if everything else "key IN (SELECT unnest($changed::VARCHAR[]))"
    params = {} if everything else {"changed": list(texts_changed)}
    sql = f"SELECT key FROM store.pictures WHERE {wanted} ORDER BY key"
    keys = recorder.catalog.arrow(sql, params)["key"].to_pylist()
    for i in range(0, len(keys), 10_000):
        recorder.respeak(keys[i : i + 10_000])
    recorder.catalog.set_info("rule", rule)
    recorder.catalog.set_info("speaking", "done")


def _read(
    recorder: Recorder, plan: Plan, settings: BuildSettings, runner: ReadingRunner, report: BuildReport
) -> None:
    batch: list[Outcome] = []
    store = PictureStore(recorder.catalog.path)
    n_failed, committed_at = 0, time.monotonic()
    with progress("reading pictures", plan.todo.num_rows) as advance:
        try:
            for outcomes in runner.run(plan.chunks(settings.chunk_pictures, settings.workers)):
                batch += [_store(store, outcome) for outcome in outcomes]
                n_failed += sum(outcome.cause is not None for outcome in outcomes)
                advance(len(outcomes), f"{n_failed} failed" if n_failed else "")
                late = time.monotonic() - committed_at > settings.commit_every_s
                if late or len(batch) >= settings.commit_pictures:
                    _commit(recorder, batch, report)
                    committed_at = time.monotonic()
        finally:
            _commit(recorder, batch, report)
            if runner.usage.read_s:
                report.reading_share = runner.usage.reading_share


def _store(store: PictureStore, outcome: Outcome) -> Outcome:
    """A shrunk copy goes to the disk as it comes and before its row: a batch of them would cost memory."""
    if outcome.shrunk is None:
        return outcome
    return replace(outcome, shrunk=None, stored=store.put(*outcome.shrunk))


def _commit(recorder: Recorder, batch: list[Outcome], report: BuildReport) -> None:
    """Commit and empty the batch. An interruption leaves it full, and it is committed on the way out."""
    if not batch:
        return
    try:
        recorder.commit(batch)
    except InputError:  # a full disk: once more would only hide what was said first
        batch.clear()
        raise
    report.n_reused += sum(outcome.reused for outcome in batch)
    report.n_read += sum(outcome.cause is None and not outcome.reused for outcome in batch)
    batch.clear()


def _read_captions(listing: Listing, settings: BuildSettings) -> dict[str | Path, Sidecar]:
    """All lists of captions, before any picture is read: a mistake in one is told at once."""
    return {path: read_captions(path) for path in (*listing.caption_lists, *settings.captions)}


def _finish(
    catalog: Catalog,
    listing: Listing,
    settings: BuildSettings,
    captions: dict[str | Path, Sidecar],
    report: BuildReport,
) -> None:
    """What is made from rows. Also after an interruption: rows are whole by then, and so is what follows."""
    named = catalog.arrow("SELECT DISTINCT stored_uri FROM store.pictures WHERE stored_uri IS NOT NULL")
    PictureStore(catalog.path).sweep(set(named["stored_uri"].to_pylist()))
    report.captions = import_captions(catalog, captions)
    report.caption_files = sync_caption_files(catalog, listing)
    report.shared_stems = write_sidecars(catalog, settings.sidecars)
    if settings.write_txt is not None:
        report.txt = write_texts(catalog, listing.root, settings.write_txt, overwrite=settings.overwrite_txt)
    rows = catalog.arrow("SELECT cause, count(*) AS n FROM failures GROUP BY cause").to_pylist()
    report.failures = Counter({row["cause"]: row["n"] for row in rows})
    report.n_given = int(catalog.value("SELECT count(*) FROM store.spoken WHERE source = 'given'"))
    scales = catalog.arrow("SELECT source, count(*) AS n FROM px_scales GROUP BY source ORDER BY source")
    asked = {"estimated": 0} if settings.estimate_px_scale else {}
    report.px_scales = asked | {row["source"]: row["n"] for row in scales.to_pylist()}


def _end(catalog: Catalog, build: int, outcome: str, report: BuildReport) -> None:
    values = [
        *(datetime.now(UTC).replace(tzinfo=None), outcome, report.n_unchanged, report.n_read),
        *(report.n_reused, sum(report.failures.values()), report.n_removed, build),
    ]
    with catalog.transaction():
        catalog.execute(
            """UPDATE store.builds SET finished_at = ?, outcome = ?, n_unchanged = ?, n_read = ?,
            n_reused = ?, n_failed = ?, n_removed = ? WHERE build = ?""",
            values,
        )
