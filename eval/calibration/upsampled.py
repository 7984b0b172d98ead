"""Typeset text sent through a cascade's upsamplers: what these lose, with no base model to blame."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from datatools.errors import InputError
from datatools.ocr import Polygon
from eval.calibration.typesetter import Typesetter, typeset_cells
from eval.generators import Made
from eval.generators.cascade import stage_settings
from eval.run import Plan
from eval.store import Store
from eval.suites import Cell, Suite
from eval.sweep import Setting, make_setting
from txtdiff.cascade import Cascade, Prompt, Stage, sample_pictures
from txtdiff.stages import load_stage
from txtdiff.training.distributed import pick_device
from txtdiff.which_weights import parse_weights

__all__ = ["UpsampledTypesetter", "plan_upsampled"]


class UpsampledTypesetter:
    """Sets each text at the first upsampler's small size, and enlarges it as a base's picture is enlarged."""

    batch_size = 16

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages = tuple(stages)

    def make(self, setting: Setting, cells: Sequence[Cell]) -> list[Made]:
        """Pictures of the last upsampler's size."""
        typeset = Typesetter().make(setting, cells)
        small = torch.stack([torch.tensor(made.picture) for made in typeset]).permute(0, 3, 1, 2)
        cascade = Cascade(self._stages, small.float() / 127.5 - 1)
        prompts = [Prompt(txt=cell.prompt.txt, capt=cell.prompt.capt, seed=cell.seed) for cell in cells]
        settings = [stage_settings(spec) for spec in setting.spec["upsamplers"]]
        [batch] = sample_pictures(cascade, prompts, settings, len(cells))
        scale = cascade.size_px / small.shape[-1]
        return [
            Made(made.cell, picture, regions=_scaled(made.regions or (), scale))
            for made, picture in zip(typeset, batch.pictures, strict=True)
        ]


def plan_upsampled(
    store: Store, suites: Sequence[Suite], checkpoints: Sequence[Path], device: str
) -> list[tuple[Plan, UpsampledTypesetter]]:
    """Typeset pictures of each suite, enlarged in every way in which these checkpoints enlarged its rows.

    Args:
        checkpoints: upsamplers of one cascade, smallest first.

    Raises:
        InputError: a checkpoint cannot be used, or no row of the store was enlarged by them.
    """
    where = pick_device(device)

    @cache
    def stages(weights: str) -> list[Stage]:
        return [load_stage(path, parse_weights(weights), where) for path in checkpoints]

    digests = [stage.digest for stage in stages("averaged")]
    plans = []
    for suite in suites:
        for weights, upsamplers in _ways(store, suite, digests):
            setting = _setting(suite, stages(weights), weights, upsamplers)
            plan = Plan(suite, typeset_cells(suite), [setting])
            plans.append((plan, UpsampledTypesetter(stages(weights))))
    if not plans:
        names = ", ".join(map(str, checkpoints))
        raise InputError(
            f"no row of {store.path} was enlarged by {names}", "Name the upsamplers of a row, smallest first."
        )
    return plans


def _ways(
    store: Store, suite: Suite, digests: Sequence[str | None]
) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Weights and settings of the upsamplers of rows whose upsamplers are these."""
    rows = store.rows(
        """SELECT spec->>'$.weights', spec->>'$.upsamplers' FROM settings
           WHERE suite_id = ? AND spec->>'$.generator' = 'txtdiff' GROUP BY ALL ORDER BY min(position)""",
        [suite.id],
    )
    ways = [(weights, json.loads(upsamplers)) for weights, upsamplers in rows]
    return [way for way in ways if [stage["checkpoint"] for stage in way[1]] == list(digests)]


def _setting(
    suite: Suite, stages: Sequence[Stage], weights: str, upsamplers: Sequence[Mapping[str, Any]]
) -> Setting:
    first = stages[0].config.upsampler
    if first is None:
        raise InputError(f"{stages[0].name} is a base model", "Name the upsamplers of a row.")
    small_px = first.small_size_px
    spec = {"generator": "typeset", "suite": suite.id, "role": "ceiling", "size_px": small_px, "version": 1}
    ways = "; ".join(map(_way_in_words, upsamplers))
    label = f"{small_px} px enlarged to {stages[-1].config.image_size_px} px ({ways})"
    return make_setting(spec | {"weights": weights, "upsamplers": list(upsamplers)}, label)


def _way_in_words(stage: Mapping[str, Any]) -> str:
    """ "ddim:5", and what else is said of a stage: "ddim:5 low_res_consistency=0.5"."""
    usual = {"checkpoint", "sampler", "n_steps"} | {
        key for key, value in stage.items() if key.startswith("guidance") and value == 1
    }
    others = [f"{key}={value}" for key, value in stage.items() if key not in usual]
    return " ".join([f"{stage['sampler']}:{stage['n_steps']}", *others])


def _scaled(regions: Sequence[Polygon], scale: float) -> tuple[Polygon, ...]:
    return tuple(tuple((x * scale, y * scale) for x, y in region) for region in regions)
