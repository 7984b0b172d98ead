"""What the commands do: plan, make pictures, score them, say what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from datatools.console import messages, print_causes
from datatools.ocr import open_engine
from eval.cascade_generator import CascadeGenerator
from eval.counts import Counts, count_pictures
from eval.folder_generator import FolderGenerator, folder_setting, load_prompts
from eval.generators import Generator
from eval.provenance import gather_provenance
from eval.reference import checked_reference
from eval.run import Plan, make_pictures, start_run, write_plan
from eval.score_options import ScoreOptions
from eval.scoring import read_and_score
from eval.store import Store, open_store
from eval.sweep_job import SweepJob
from eval.sweep_plans import plan_sweep
from txtdiff.cascade import load_cascade

__all__ = ["run_sweep", "score_folder"]


def run_sweep(store_path: Path, job: SweepJob, reader: str, options: ScoreOptions) -> Counts:
    """Make, read and score the pictures of a sweep; what the store holds already is not done again.

    Raises:
        InputError: an input cannot be used. All are looked at before the store is made or changed.
    """
    parts = plan_sweep(job)
    engine = open_engine(reader)
    setting_ids = [setting.id for part in parts for setting in part.plan.settings]
    with open_store(store_path, "write") as store:
        for part in parts:
            cascade = load_cascade(part.checkpoints, part.weights, device=_device())
            _make(store, part.plan, CascadeGenerator(cascade, job.batch_size))
        protocol = read_and_score(store, setting_ids, engine, options)
        return _tell(store, setting_ids, protocol.id)


def score_folder(
    store_path: Path,
    folder: Path,
    prompts_file: Path,
    name: str | None,
    reference: Path | None,
    reader: str,
    options: ScoreOptions,
) -> Counts:
    """Read and score pictures that somebody else made.

    Raises:
        InputError: an input cannot be used. All are looked at before the store is made or changed.
    """
    prompts = load_prompts(prompts_file, folder)
    setting = folder_setting(prompts, name or folder.resolve().name)
    plan = Plan(prompts.suite, prompts.cells, [setting], checked_reference(reference))
    engine = open_engine(reader)
    with open_store(store_path, "write") as store:
        _make(store, plan, FolderGenerator(prompts.files))
        protocol = read_and_score(store, [setting.id], engine, options)
        return _tell(store, [setting.id], protocol.id)


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _make(store: Store, plan: Plan, generator: Generator) -> None:
    start_run(store, plan, gather_provenance())
    write_plan(store, plan)
    make_pictures(store, plan, generator)


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
