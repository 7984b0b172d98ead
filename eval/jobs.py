"""What the commands do: plan, make pictures, score them, say what became of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch

from datatools.console import messages, print_causes
from datatools.errors import InputError
from datatools.ocr import open_engine
from eval.cascade_generator import CascadeGenerator, cascade_settings
from eval.counts import Counts, count_pictures
from eval.folder_generator import FolderGenerator, folder_setting, load_prompts
from eval.generators import Generator
from eval.provenance import gather_provenance
from eval.reference import open_reference
from eval.run import Plan, make_pictures, start_run, write_plan
from eval.score_options import ScoreOptions
from eval.scoring import read_and_score
from eval.store import Store
from eval.suite import cells_of, load_suite
from eval.sweep_job import SweepJob
from txtdiff.cascade import load_cascade
from txtdiff.training.checkpoint import checkpoint_images, find_checkpoint, list_checkpoints

__all__ = ["run_sweep", "score_folder"]


def run_sweep(store: Store, job: SweepJob, reader: str, options: ScoreOptions) -> Counts:
    """Make, read and score the pictures of a sweep; what the store holds already is not done again."""
    suite = load_suite(job.suite, job.limit)
    reference = _reference(job.reference)
    engine = open_engine(reader)  # before anything is made: a missing reader is told in seconds
    setting_ids: list[str] = []
    for plan, generator in _plans(job, suite_plan=Plan(suite, cells_of(suite), (), reference)):
        _make(store, plan, generator)
        setting_ids += [setting.id for setting in plan.settings]
    protocol = read_and_score(store, setting_ids, engine, options)
    return _tell(store, setting_ids, protocol.id)


def score_folder(
    store: Store,
    folder: Path,
    prompts_file: Path,
    name: str | None,
    reference: Path | None,
    reader: str,
    options: ScoreOptions,
) -> Counts:
    """Read and score pictures that somebody else made."""
    prompts = load_prompts(prompts_file, folder)
    engine = open_engine(reader)
    setting = folder_setting(prompts, name or folder.resolve().name)
    plan = Plan(prompts.suite, prompts.cells, [setting], _reference(reference))
    _make(store, plan, FolderGenerator(prompts.files))
    protocol = read_and_score(store, [setting.id], engine, options)
    return _tell(store, [setting.id], protocol.id)


def _plans(job: SweepJob, suite_plan: Plan) -> Iterator[tuple[Plan, Generator]]:
    """One plan per cascade; the next cascade is loaded only when the one before is done."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    bases = [path for base in job.bases for path in _checkpoints(base, job.over)]
    for base in bases:
        for weights in job.weights:
            cascade = load_cascade([base, *job.upsamplers], weights, device=device)
            name = " ".join([_name(base)] * (len(bases) > 1) + [str(weights)] * (len(job.weights) > 1))
            about = {"weights": str(weights), "images": checkpoint_images(find_checkpoint(base))}
            settings = cascade_settings(cascade, suite_plan.suite, job.sweep, about, name)
            plan = Plan(suite_plan.suite, suite_plan.cells, settings, suite_plan.reference)
            yield plan, CascadeGenerator(cascade, job.batch_size)


def _checkpoints(base: Path, over: Literal["checkpoints"] | None) -> Sequence[Path]:
    """The base itself, or every checkpoint of it, oldest first."""
    if over is None:
        return [base]
    found = list_checkpoints(base)
    if not found:
        raise InputError(f"{base} holds no checkpoints", "--over checkpoints wants a run directory.")
    return found


def _name(base: Path) -> str:
    """A run by its name, a checkpoint by its run's name and its own."""
    resolved = base.resolve()
    return f"{resolved.parent.name}/{resolved.name}" if resolved.name.startswith("step-") else resolved.name


def _make(store: Store, plan: Plan, generator: Generator) -> None:
    start_run(store, plan, gather_provenance())
    write_plan(store, plan)
    make_pictures(store, plan, generator)


def _reference(catalog: Path | None) -> dict[str, str] | None:
    """The catalog to compare with, checked now: a wrong path is told before hours of sampling."""
    if catalog is None:
        return None
    if not catalog.is_file():
        raise InputError(f"no catalog at {catalog}", "datatools build-catalog makes one.")
    open_reference(catalog)
    return {"catalog": str(catalog.resolve())}


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
