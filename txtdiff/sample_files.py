"""From prompts to a folder of PNG files that say how they were made."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from datatools.atomic import atomic_open, write_bytes_atomic, write_text_atomic
from datatools.console import progress
from datatools.errors import InputError
from txtdiff.cascade import (
    Cascade,
    Prompt,
    SampledPictures,
    SamplerSettings,
    Stage,
    parse_sampler,
    sample_pictures,
)
from txtdiff.config_files import settings_layer, validated
from txtdiff.data.tokenizer import encode_texts
from txtdiff.sample_folder import GRID, METADATA_KEY, check_folder, picture_name, remove_surplus
from txtdiff.training.grid import tiled

__all__ = ["SamplingPlan", "Wishes", "check_prompts", "make_prompts", "plan_stages", "sample_to_folder"]

_MAX_GRID = 100
_PROMPTS = "prompts.jsonl"
_STEPS = ("n_steps", "fork_spacing")
"""Two ways to say how many steps: a wish for one takes the place of what stood for both before."""


@dataclass(frozen=True, kw_only=True)
class SamplingPlan:
    """What to sample and where it goes."""

    prompts: Sequence[Prompt]
    settings: Sequence[SamplerSettings]
    """One for each stage."""
    out: Path
    batch_size: int
    exact: bool = False
    """One picture a pass, so that a picture does not depend on its batch even by rounding."""
    npz: bool = False
    """Also write the parent project's samples_NxHxWxC.npz."""


def make_prompts(
    texts: Sequence[str], capt: str | None, n: int, seed: int, label: int | None = None
) -> list[Prompt]:
    """n prompts for each text; seeds count up from `seed` and are the same for every text.

    Raises:
        InputError: n is 0 or less.
    """
    if n < 1:
        raise InputError(f"--n {n}: no pictures are asked for", "Give 1 or more.")
    return [Prompt(txt=text, capt=capt, seed=seed + i, label=label) for text in texts for i in range(n)]


def check_prompts(cascade: Cascade, prompts: Iterable[Prompt]) -> None:
    """See that the prompts tell the cascade nothing that none of its stages reads.

    Raises:
        InputError: a text, a caption or a class would have no effect.
    """
    configs, told = [stage.config for stage in cascade.stages], [*prompts]
    if any(prompt.txt for prompt in told) and all(config.text is None for config in configs):
        raise InputError("--txt has no effect: no stage reads text", "Give --txt ''.")
    if any(prompt.capt for prompt in told) and all(config.captions is None for config in configs):
        raise InputError("--capt has no effect: no stage reads captions", "Leave it out.")
    labelled = any(prompt.label is not None for prompt in told)
    if labelled and all(config.n_classes is None for config in configs):
        raise InputError("--class has no effect: no stage knows classes", "Leave it out.")


@dataclass(frozen=True)
class Wishes:
    """What a command line says of samplers; what it leaves open is the cascade's own recommendation."""

    sampler: str | None = None
    """NAME:STEPS or NAME@LIST, for all stages; see `parse_sampler`."""
    guidance: float | None = None
    """Scale of text and caption together, for the base; 1 = none."""
    guidance_capt: float | None = None
    """Another scale for the caption."""
    changes: tuple[str, ...] = ()
    """"STAGE.NAME=VALUE"; a stage is base, upsampler (all of them), or upsampler2 (the second)."""


def plan_stages(
    cascade: Cascade, wishes: Wishes, recommended: Mapping[str, Mapping[str, Any]] | None = None
) -> list[SamplerSettings]:
    """Settings for each stage: what is recommended, or 30 steps of DPM-Solver++ unguided; wishes on top.

    Raises:
        InputError: a wish that cannot be, or would have no effect.
    """
    layers = settings_layer(wishes.changes)
    stages = ["base", *(f"upsampler{i}" for i in range(1, len(cascade.stages)))]
    _check_stages(layers, stages)
    plans = []
    for stage_name in stages:
        kind = "base" if stage_name == "base" else "upsampler"
        fields: dict[str, Any] = {"sampler": "dpmpp_2m", "n_steps": 30, **(recommended or {}).get(kind, {})}
        if kind == "base":
            fields |= _guidance(wishes, cascade)
        sampler = parse_sampler(wishes.sampler) if wishes.sampler is not None else {}
        for wished in (sampler, layers.get(kind, {}), layers.get(stage_name, {})):
            if any(wished.get(name, "none") != "none" for name in _STEPS):
                fields = {name: value for name, value in fields.items() if name not in _STEPS}
            fields |= wished
        plans.append(validated(SamplerSettings, fields, stage_name))
    return plans


def _guidance(wishes: Wishes, cascade: Cascade) -> dict[str, float]:
    """The scales asked for, of what the base model is told at all."""
    both, capt, name = wishes.guidance, wishes.guidance_capt, cascade.stages[0].name
    has_txt, has_capt = (kind in _guided_by(cascade.stages[0]) for kind in ("txt", "capt"))
    if capt not in (None, 1) and not has_capt:
        raise InputError(
            f"--guidance-capt has no effect: {name} reads no captions", _where_it_acts(cascade, "capt")
        )
    if both not in (None, 1) and not (has_txt or has_capt):
        raise InputError(
            f"--guidance has no effect: {name} reads no text, captions or classes",
            _where_it_acts(cascade, "txt", "capt"),
        )
    if both not in (None, 1) and capt is not None and not has_txt:
        raise InputError(
            f"--guidance has no effect beside --guidance-capt: {name} reads captions only",
            "Give one of them.",
        )
    scales = {"guidance_txt": both if has_txt else None}
    scales["guidance_capt"] = (both if capt is None else capt) if has_capt else None
    return {name: scale for name, scale in scales.items() if scale is not None}


def _guided_by(stage: Stage) -> list[str]:
    """Which scales of guidance a stage has: "txt" for a text, or a class, which goes with it; "capt"."""
    config = stage.config
    has_txt, has_capt = config.text is not None or config.n_classes is not None, config.captions is not None
    return ["txt"] * has_txt + ["capt"] * has_capt


def _where_it_acts(cascade: Cascade, *kinds: str) -> str:
    """What to do with a scale that the base has no use for: perhaps an upsampler has."""
    for i, stage in enumerate(cascade.stages[1:], start=1):
        name = "upsampler" if len(cascade.stages) == 2 else f"upsampler{i}"
        for kind in kinds:
            if kind in _guided_by(stage):
                return f"Leave it out, or guide the upsampler: --set {name}.guidance_{kind}=S."
    return "Leave it out."


def _check_stages(named: Iterable[str], stages: Sequence[str]) -> None:
    known = [*stages, "upsampler"] if len(stages) > 1 else [*stages]
    for name in named:
        if name not in known:
            raise InputError(f"--set {name}…: there is no such stage", f"There are {', '.join(known)}.")


def sample_to_folder(cascade: Cascade, plan: SamplingPlan) -> None:
    """Sample all pictures and write one PNG each, prompts.jsonl, grid.png and, if asked for, the .npz.

    Pictures that an earlier run left in the folder are replaced or removed; those of others never are.

    Raises:
        InputError: a folder that cannot be written, or holds a picture of others under a name of ours.
    """
    _prepare_folder(plan.out, len(plan.prompts))
    n_kept = len(plan.prompts) if plan.npz else _MAX_GRID
    kept: list[NDArray[np.uint8]] = []
    lines: list[str] = []
    with progress("sampling", len(plan.prompts)) as advance:
        for batch in sample_pictures(cascade, plan.prompts, plan.settings, plan.batch_size, exact=plan.exact):
            lines += _write_batch(batch, len(lines), cascade, plan)
            kept += list(batch.pictures[: n_kept - len(kept)])
            advance(len(batch.pictures))
    remove_surplus(plan.out, len(lines))
    write_text_atomic(plan.out / _PROMPTS, "".join(f"{line}\n" for line in lines))
    shown = np.stack(kept[:_MAX_GRID])
    _save_png(tiled(shown), plan.out / GRID, {"pictures": len(shown)})
    if plan.npz:
        _write_npz(np.stack(kept), cascade, plan)


def _prepare_folder(out: Path, n: int) -> None:
    """Make the folder for n pictures, without what sums up an earlier run: this one may be interrupted."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        check_folder(out, n)
        # An .npz stays: the fork's users sample a base and enlarge its .npz in one and the same folder.
        for summary in (_PROMPTS, GRID):
            (out / summary).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}", "Choose another --out.") from error


def _write_batch(batch: SampledPictures, first: int, cascade: Cascade, plan: SamplingPlan) -> list[str]:
    """Write a batch's PNGs and return its lines of prompts.jsonl."""
    stages = [
        {"checkpoint": stage.name, "digest": stage.digest, **settings.model_dump(exclude_defaults=True)}
        for stage, settings in zip(cascade.stages, plan.settings, strict=True)
    ]
    lines = []
    for i, (prompt, pixels) in enumerate(zip(batch.prompts, batch.pictures, strict=True), start=first):
        line = {
            "file": picture_name(i),
            "txt": prompt.txt,
            "capt": prompt.capt,
            "class": prompt.label,
            "seed": prompt.seed,
        }
        facts = {name: value for name, value in line.items() if value is not None}
        _save_png(Image.fromarray(pixels), plan.out / picture_name(i), {**facts, "stages": stages})
        lines.append(json.dumps(facts, ensure_ascii=False))
    return lines


def _save_png(image: Image.Image, path: Path, facts: Mapping[str, Any]) -> None:
    metadata = PngInfo()
    metadata.add_itxt(METADATA_KEY, json.dumps(facts, ensure_ascii=False))
    buffer = BytesIO()
    image.save(buffer, "PNG", pnginfo=metadata)
    write_bytes_atomic(path, buffer.getvalue())


def _write_npz(pictures: NDArray[np.uint8], cascade: Cascade, plan: SamplingPlan) -> None:
    """The parent project's layout: arr_0 the pictures (N, H, W, C) uint8, arr_1 what they were told.

    That is the classes (N,) int64, or the texts' token ids (N, L) int64; pictures told neither have no arr_1.
    """
    shape = "x".join(map(str, pictures.shape))
    text = cascade.stages[0].config.text
    told: list[NDArray[np.int64]] = []
    if cascade.stages[0].config.n_classes is not None and all(p.label is not None for p in plan.prompts):
        told = [np.array([prompt.label for prompt in plan.prompts], np.int64)]
    elif text is not None:
        texts = [prompt.txt for prompt in plan.prompts]
        told = [encode_texts(texts, text.max_length, text.tokenizer).numpy()]
    with atomic_open(plan.out / f"samples_{shape}.npz") as file:
        np.savez(file, pictures, *told)
