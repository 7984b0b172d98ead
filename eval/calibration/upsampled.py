"""Typeset text sent through a cascade's upsamplers: what these lose, with no base model to blame."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from datatools.errors import InputError
from datatools.ocr import Polygon
from eval.calibration.typesetter import typeset, typeset_cells
from eval.generators import Made
from eval.generators.cascade import stage_settings
from eval.machine.provenance import name_device
from eval.run import Plan
from eval.store import Store
from eval.suites import Cell, Suite
from eval.sweep import Setting, make_setting
from txtdiff.cascade import Cascade, Prompt, sample_pictures
from txtdiff.stages import load_stage
from txtdiff.training.checkpoint import digest_of, find_checkpoint
from txtdiff.training.contents import load_config
from txtdiff.training.distributed import pick_device
from txtdiff.which_weights import parse_weights

__all__ = ["UpsampledTypesetter", "Upsamplers", "find_upsamplers", "plan_upsampled"]


@dataclass(frozen=True, slots=True)
class Upsamplers:
    """Checkpoints of one cascade's upsamplers, smallest first, and the edges that they take and give."""

    checkpoints: tuple[Path, ...]
    small_px: int
    large_px: int


class UpsampledTypesetter:
    """Sets each text at the first upsampler's small size, and enlarges it as a base's picture is enlarged."""

    batch_size = 16

    def __init__(self, upsamplers: Upsamplers, weights: str, device: str) -> None:
        self._small_px = upsamplers.small_px
        where = pick_device(device)
        self._stages = tuple(
            load_stage(path, parse_weights(weights), where) for path in upsamplers.checkpoints
        )
        self._device = name_device(self._stages[0].model.device)

    def make(self, setting: Setting, cells: Sequence[Cell]) -> list[Made]:
        """Pictures of the last upsampler's size; texts, type and colours are those of the small ceiling."""
        small = typeset(cells, self._small_px, "ceiling")
        pictures = torch.stack([torch.tensor(made.picture) for made in small]).permute(0, 3, 1, 2)
        cascade = Cascade(self._stages, pictures.float() / 127.5 - 1)
        prompts = [Prompt(txt=cell.prompt.txt, capt=cell.prompt.capt, seed=cell.seed) for cell in cells]
        settings = [stage_settings(spec) for spec in setting.spec["upsamplers"]]
        [batch] = sample_pictures(cascade, prompts, settings, len(cells))
        scale = cascade.size_px / self._small_px
        return [
            Made(
                made.cell,
                picture,
                seconds=batch.seconds / len(cells),
                n_evaluations=batch.n_evaluations,
                device=self._device,
                regions=_scaled(made.regions or (), scale),
            )
            for made, picture in zip(small, batch.pictures, strict=True)
        ]


def find_upsamplers(paths: Sequence[Path]) -> Upsamplers:
    """The checkpoints behind these paths, no weights read yet.

    Raises:
        InputError: a checkpoint cannot be used, or is a base model's.
    """
    checkpoints = tuple(find_checkpoint(path) for path in paths)
    models = [load_config(checkpoint).model for checkpoint in checkpoints]
    for path, model in zip(paths, models, strict=True):
        if model.upsampler is None:
            raise InputError(f"{path} is a base model", "--upsampler wants what enlarges its pictures.")
    first = models[0].upsampler
    assert first is not None
    return Upsamplers(checkpoints, first.small_size_px, models[-1].image_size_px)


def plan_upsampled(
    store: Store, suites: Sequence[Suite], upsamplers: Upsamplers, device: str
) -> list[tuple[Plan, UpsampledTypesetter]]:
    """Typeset pictures of each suite, enlarged in every way in which these checkpoints enlarged its rows.

    Raises:
        InputError: no row of the store was enlarged by them.
    """
    plans = []
    for suite in suites:
        for weights, ways in _ways(store, suite, [digest_of(path) for path in upsamplers.checkpoints]):
            plan = Plan(suite, typeset_cells(suite), [_setting(suite, upsamplers, weights, ways)])
            plans.append((plan, UpsampledTypesetter(upsamplers, weights, device)))
    if not plans:
        names = ", ".join(map(str, upsamplers.checkpoints))
        raise InputError(
            f"no row of {store.path} was enlarged by {names}", "Name the upsamplers of a row, smallest first."
        )
    return plans


def _ways(store: Store, suite: Suite, digests: Sequence[str]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Weights and settings of the upsamplers of rows whose upsamplers are these."""
    rows = store.rows(
        """SELECT spec->>'$.weights', spec->>'$.upsamplers' FROM settings
           WHERE suite_id = ? AND spec->>'$.generator' = 'txtdiff' GROUP BY ALL ORDER BY min(position)""",
        [suite.id],
    )
    ways = [(weights, json.loads(upsamplers)) for weights, upsamplers in rows]
    return [way for way in ways if [stage["checkpoint"] for stage in way[1]] == list(digests)]


def _setting(
    suite: Suite, upsamplers: Upsamplers, weights: str, ways: Sequence[Mapping[str, Any]]
) -> Setting:
    """A role of its own: these pictures are nobody's ceiling."""
    spec = {"generator": "typeset", "suite": suite.id, "role": "enlarged", "size_px": upsamplers.small_px}
    spec |= {"version": 1, "weights": weights, "upsamplers": list(ways)}
    words = [_way_in_words(way) for way in ways] + ([] if weights == "averaged" else [f"weights {weights}"])
    label = f"{upsamplers.small_px} px enlarged to {upsamplers.large_px} px ({', '.join(words)})"
    return make_setting(spec, label)


def _way_in_words(stage: Mapping[str, Any]) -> str:
    """ "ddim:5", and what else is said of a stage: "ddim:5 low_res_consistency=0.5"."""
    usual = {"checkpoint", "sampler", "n_steps"}
    usual |= {name for name in ("guidance_txt", "guidance_capt") if stage.get(name) == 1}
    others = [f"{name}={value}" for name, value in stage.items() if name not in usual]
    return " ".join([f"{stage['sampler']}:{stage['n_steps']}", *others])


def _scaled(regions: Sequence[Polygon], scale: float) -> tuple[Polygon, ...]:
    return tuple(tuple((x * scale, y * scale) for x, y in region) for region in regions)
