"""What the commands do: plan, make pictures, score them, say what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from datatools.console import messages, print_causes, say
from datatools.errors import InputError
from datatools.ocr import OcrEngine, find_engine
from eval.generators import Generator
from eval.generators.folder import FolderGenerator, folder_setting, load_prompts
from eval.machine.provenance import gather_provenance
from eval.metrics.seen_words import Vocabulary, keep_seen_words, read_vocabularies, read_vocabulary
from eval.run import Plan, make_pictures, pending_cells, start_run, write_plan
from eval.scoring.options import ScoreOptions
from eval.scoring.reference import checked_reference
from eval.store import Store, open_store
from eval.store.counts import Counts, count_pictures
from eval.suites.public_prompts import PromptFormat
from eval.sweep.job import SweepJob
from txtdiff.training.checkpoint import check_there

if TYPE_CHECKING:
    from eval.run.plans import SweepPart

__all__ = ["run_sweep", "score_folder"]


def run_sweep(store_path: Path, job: SweepJob, readers: Sequence[str], options: ScoreOptions) -> Counts:
    """Make, read and score the pictures of a sweep; what the store holds already is not done again.

    Raises:
        InputError: an input cannot be used. All are looked at before the store is made or changed.
    """
    for path in (*job.bases, *job.upsamplers):
        check_there(path)
    # Cascades bring torch, which scoring pictures that were scored before need not wait for.
    from eval.run.plans import plan_sweep
    from eval.run.workers import make_spread
    from txtdiff.training.distributed import pick_device

    if options.mode == "box":
        raise InputError(
            "a cascade chooses itself where it writes: no region is known to --mode box",
            "Box mode is for `txtdiff-eval score` with boxes in the prompts file.",
        )
    parts = plan_sweep(job)
    if job.spread.runner == "local":  # a cluster's devices are known to its workers
        for named in job.spread.devices:
            pick_device(named)
    seen = _checked_vocabulary(options)
    engines = [find_engine(reader) for reader in readers]
    setting_ids = [setting.id for part in parts for setting in part.plan.settings]
    with open_store(store_path, "write") as store:
        if job.spread.is_one:
            device = pick_device(next(iter(job.spread.devices), "auto"))
            for part in parts:
                _make(store, part.plan, part.generator(device, job.batch_size))
        else:
            for part in parts:
                start_run(store, part.plan, gather_provenance())
                write_plan(store, part.plan)
            make_spread(store, parts, job.batch_size, job.spread)
        vocabularies = _vocabularies(parts) if seen is None else dict.fromkeys(setting_ids, seen)
        for setting_id, vocabulary in vocabularies.items():
            keep_seen_words(store, setting_id, vocabulary)
        return _score_and_tell(store, setting_ids, engines, options)


def score_folder(
    store_path: Path,
    folder: Path,
    prompts_file: Path,
    name: str | None,
    reference: Path | None,
    readers: Sequence[str],
    options: ScoreOptions,
    prompt_format: PromptFormat = "auto",
) -> Counts:
    """Read and score pictures that somebody else made.

    Raises:
        InputError: an input cannot be used. All are looked at before the store is made or changed.
    """
    prompts = load_prompts(prompts_file, folder, prompt_format)
    if options.mode == "box":
        prompts.check_regions()
    seen = _checked_vocabulary(options)
    setting = folder_setting(prompts, name or folder.resolve().name)
    plan = Plan(prompts.suite, prompts.cells, [setting], checked_reference(reference))
    engines = [find_engine(reader) for reader in readers]
    with open_store(store_path, "write") as store:
        _make(store, plan, FolderGenerator(prompts))
        if seen is not None:
            keep_seen_words(store, setting.id, seen)
        return _score_and_tell(store, [setting.id], engines, options)


def _checked_vocabulary(options: ScoreOptions) -> Vocabulary | None:
    """The words of --seen-words, read before anything is made, so that a wrong catalog is told now."""
    if options.seen_words is None:
        return None
    from txtdiff.data.config import DataConfig  # where nobody asks, scoring need not wait for it

    return read_vocabulary(DataConfig(catalog=options.seen_words))


def _vocabularies(parts: Sequence[SweepPart]) -> dict[str, Vocabulary]:
    """The words that the checkpoints themselves name a catalog of, by setting."""
    return read_vocabularies(
        {
            setting.id: part.trained_on
            for part in parts
            if part.trained_on is not None and part.trained_on.catalog is not None
            for setting in part.plan.settings
        }
    )


def _make(store: Store, plan: Plan, generator: Generator) -> None:
    write_plan(store, plan)
    is_new = any(pending_cells(store, setting, plan.cells) for setting in plan.settings)
    start_run(store, plan, gather_provenance(networks=is_new))
    make_pictures(store, plan, generator)


def _score_and_tell(
    store: Store, setting_ids: Sequence[str], engines: Sequence[OcrEngine], options: ScoreOptions
) -> Counts:
    """Score, and say what became of the pictures; counts of readings are the first reader's."""
    # pandas takes seconds to import, which a prompts file that is wrong need not wait for.
    from eval.reading.agreement import agreement_lines, load_agreements
    from eval.scoring.steps import read_and_score

    protocols = read_and_score(store, setting_ids, engines, options)
    for line in agreement_lines(load_agreements(store, setting_ids)) if len(protocols) > 1 else ():
        say(line)
    return _tell(store, setting_ids, protocols[0].id)


def _tell(store: Store, setting_ids: Sequence[str], protocol_id: str) -> Counts:
    counts = count_pictures(store, setting_ids, protocol_id)
    messages.print(
        f"{len(setting_ids)} settings: {counts.expected} pictures expected, {counts.done} done, "
        f"{counts.no_text} without text, {counts.failed} failed"
    )
    causes = store.rows(
        """SELECT coalesce(cause, 'never made'), count(*) FROM samples
           WHERE status <> 'done' AND setting_id IN (SELECT unnest(?)) GROUP BY 1""",
        [list(setting_ids)],
    )
    if causes:
        print_causes("pictures that failed", dict(causes))
    return counts
