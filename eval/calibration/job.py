"""Calibrate a reader on everything a store asks for: typeset it at the pictures' size, and read that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from datatools.errors import InputError
from datatools.ocr import OcrEngine
from eval.calibration.table import ceiling_lines
from eval.calibration.typesetter import ROLES, Typesetter, typeset_cells, typeset_setting
from eval.generators import Generator
from eval.machine.provenance import gather_provenance
from eval.run import Plan, make_pictures, start_run, write_plan
from eval.scoring.options import ScoreOptions
from eval.scoring.steps import score_text
from eval.store import Store
from eval.suites import Suite, SuitePrompt

__all__ = ["calibrate"]


def calibrate(
    store: Store,
    engines: Sequence[OcrEngine],
    options: ScoreOptions,
    size_px: int | None = None,
    upsamplers: Sequence[Path] = (),
    device: str = "auto",
) -> list[str]:
    """Typeset, read and count every text of the store's suites; returns what was found, as lines of a table.

    Args:
        size_px: edge of the pictures; None takes each edge that the store's pictures have.
        upsamplers: checkpoints of a cascade's upsamplers, smallest first, through which typeset text is sent
            as well, as the store's rows were: what they lose of text that no base model spoilt.
        device: where these work.

    Raises:
        InputError: the store holds no pictures to calibrate for, or none that these upsamplers enlarged.
    """
    found = None
    if upsamplers:
        from eval.calibration.upsampled import find_upsamplers, plan_upsampled  # torch, for who asks for it

        found = find_upsamplers(upsamplers)
    suites = _suites(store)
    if not suites:
        raise InputError(
            f"{store.path} holds no pictures to calibrate for", "txtdiff-eval run or score first."
        )
    work: list[tuple[Plan, Generator]] = []
    for suite, edges_px in suites:
        # What was enlarged is read beside what was set at either size.
        ends_px = set() if found is None else {found.small_px, found.large_px}
        for edge_px in sorted(ends_px | ({size_px} if size_px is not None else set(edges_px))):
            for role in ROLES:
                plan = Plan(suite, typeset_cells(suite), [typeset_setting(suite, edge_px, role)])
                work.append((plan, Typesetter()))
    if found is not None:
        work += plan_upsampled(store, [suite for suite, _ in suites], found, device)
    for plan, generator in work:
        start_run(store, plan, gather_provenance())
        write_plan(store, plan)
        make_pictures(store, plan, generator)
    setting_ids = [setting.id for plan, _ in work for setting in plan.settings]
    protocols = [score_text(store, setting_ids, engine, options) for engine in engines]
    return list(ceiling_lines(store, setting_ids, protocols))


def _suites(store: Store) -> list[tuple[Suite, Sequence[int]]]:
    """The suites that contestants were asked for, with the edges of their pictures."""
    rows = store.rows(
        """SELECT s.suite_id, u.name, u.version, u.digest, list(DISTINCT least(p.width_px, p.height_px))
           FROM settings s JOIN suites u USING (suite_id) JOIN samples p USING (setting_id)
           WHERE p.status = 'done' AND s.spec->>'$.generator' <> 'typeset' GROUP BY ALL ORDER BY ALL"""
    )
    suites: list[tuple[Suite, Sequence[int]]] = []
    for suite_id, name, version, digest, edges_px in rows:
        prompts = store.rows(
            "SELECT prompt_id, stratum, txt, capt, prompt FROM prompts WHERE suite_id = ? ORDER BY position",
            [suite_id],
        )
        suite = Suite(name, version, digest, 1, tuple(SuitePrompt(*prompt) for prompt in prompts))
        suites.append((suite, sorted(edges_px)))
    return suites
