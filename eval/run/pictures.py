"""Sweep x suite -> pictures in the store, kept batch by batch; a killed run goes on from there."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from datatools.console import progress, say
from eval.generators import Generator, Made, make_batch
from eval.identity import canonical_json, identity
from eval.store import Store
from eval.suites import Cell, Suite
from eval.sweep import Setting

__all__ = [
    "Plan",
    "keep_pictures",
    "make_pictures",
    "pending_cells",
    "start_run",
    "tell_failures",
    "write_plan",
]


@dataclass(frozen=True)
class Plan:
    """What a run is to make: every setting on every cell of a suite."""

    suite: Suite
    cells: Sequence[Cell]
    settings: Sequence[Setting]
    reference: Mapping[str, Any] | None = None
    """What the pictures are compared with for FID and KID: the catalog's path and the size in pixels."""
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])


def start_run(store: Store, plan: Plan, provenance: Mapping[str, Any]) -> None:
    """Record that this run began, by whom and with what."""
    now = datetime.now(UTC).replace(tzinfo=None)
    row = {"run_id": plan.run_id, "started_at": now, "provenance": canonical_json(provenance)}
    store.write("runs", [row])


def write_plan(store: Store, plan: Plan) -> None:
    """Enter the suite, the settings and every cell as expected. What is there already stays as it is."""
    suite = plan.suite
    head = {"suite_id": suite.id, "name": suite.name, "version": suite.version, "digest": suite.digest}
    store.write("suites", [head])
    store.write("prompts", _prompt_rows(suite))
    [(position,)] = store.rows("SELECT coalesce(max(position), -1) FROM settings")
    known = {setting_id for (setting_id,) in store.rows("SELECT setting_id FROM settings")}
    for setting in plan.settings:
        if setting.id not in known:
            position += 1
            store.write("settings", [_setting_row(setting, plan, position)])
        elif plan.reference is not None:
            reference = canonical_json(plan.reference)
            store.execute("UPDATE settings SET reference = ? WHERE setting_id = ?", [reference, setting.id])
        _expect_cells(store, setting, plan)


def make_pictures(store: Store, plan: Plan, generator: Generator) -> None:
    """Make every picture of the plan that is not in the store, batch by batch; failed ones are rows too."""
    pending = {setting.id: pending_cells(store, setting, plan.cells) for setting in plan.settings}
    total = sum(map(len, pending.values()))
    if not total:
        return
    told: set[str] = set()
    with progress("making pictures", total) as advance:
        for setting in plan.settings:
            cells = pending[setting.id]
            for start in range(0, len(cells), generator.batch_size):
                advance(0, setting.label)
                batch = make_batch(generator, setting, cells[start : start + generator.batch_size])
                keep_pictures(store, setting, batch, plan.run_id)
                tell_failures(setting, batch, told)
                advance(len(batch), setting.label)


def keep_pictures(store: Store, setting: Setting, batch: Sequence[Made], run_id: str) -> None:
    """Keep what became of a batch of cells: picture files first, then their rows in one transaction."""
    store.write("samples", [_sample_row(store, setting, made, run_id) for made in batch])


def tell_failures(setting: Setting, batch: Sequence[Made], told: set[str]) -> None:
    """Say once of each reason why a picture was not made: the store keeps causes, not what was said."""
    for made in batch:
        if made.detail is not None and made.detail not in told:
            told.add(made.detail)
            say(f"{setting.label}: no picture, {made.detail}")


def _prompt_rows(suite: Suite) -> list[dict[str, Any]]:
    return [
        {"suite_id": suite.id, "prompt_id": prompt.id, "position": position, "stratum": prompt.stratum}
        | {"txt": prompt.txt, "capt": prompt.capt, "prompt": prompt.prompt}
        for position, prompt in enumerate(suite.prompts)
    ]


def _setting_row(setting: Setting, plan: Plan, position: int) -> dict[str, Any]:
    reference = None if plan.reference is None else canonical_json(plan.reference)
    return {
        "setting_id": setting.id,
        "suite_id": plan.suite.id,
        "label": setting.label,
        "spec": canonical_json(setting.spec),
        "position": position,
        "reference": reference,
    }


def _expect_cells(store: Store, setting: Setting, plan: Plan) -> None:
    known = set(store.rows("SELECT prompt_id, seed FROM samples WHERE setting_id = ?", [setting.id]))
    rows = [
        {"setting_id": setting.id, "prompt_id": cell.prompt.id, "seed": cell.seed, "status": "expected"}
        for cell in plan.cells
        if (cell.prompt.id, cell.seed) not in known
    ]
    store.write("samples", rows)


def pending_cells(store: Store, setting: Setting, cells: Sequence[Cell]) -> list[Cell]:
    """Cells without a whole picture, failed ones included: running again is how one retries."""
    sql = "SELECT prompt_id, seed, sha256 FROM samples WHERE setting_id = ? AND status = 'done'"
    done = {
        (prompt_id, seed)
        for prompt_id, seed, sha256 in store.rows(sql, [setting.id])
        if store.has_picture(sha256)
    }
    return [cell for cell in cells if (cell.prompt.id, cell.seed) not in done]


def _sample_row(store: Store, setting: Setting, made: Made, run_id: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "setting_id": setting.id,
        "prompt_id": made.cell.prompt.id,
        "seed": made.cell.seed,
        "status": "failed" if made.picture is None else "done",
        "cause": made.cause,
        "sha256": None,
        "width_px": None,
        "height_px": None,
        "seconds": made.seconds,
        "n_evaluations": made.n_evaluations,
        "device": made.device,
        "run_id": run_id,
        "regions": None if made.regions is None else canonical_json(made.regions),
        "region_id": None if made.regions is None else identity(made.regions),
    }
    if made.picture is not None:
        height_px, width_px = made.picture.shape[:2]
        row |= {"sha256": store.add_picture(made.picture), "width_px": width_px, "height_px": height_px}
    return row
