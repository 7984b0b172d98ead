"""What a sweep will make, found out before anything is made: every wrong input is told in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from datatools.errors import InputError
from eval.generators import Generator
from eval.generators.cascade import CascadeGenerator, cascade_settings
from eval.run.pictures import Plan
from eval.scoring.reference import checked_reference
from eval.suites import cells_of, load_suite
from eval.sweep.job import DiffusersOptions, SweepJob
from txtdiff.cascade import Cascade, Stage, load_cascade
from txtdiff.conditioning import StageModel
from txtdiff.data.config import DataConfig
from txtdiff.model.unet import build_network
from txtdiff.pretrained import cascade_paths
from txtdiff.training.checkpoint import digest_of, find_checkpoint, list_checkpoints
from txtdiff.training.contents import load_config, read_facts
from txtdiff.training.weights import check_weights
from txtdiff.which_weights import Weights

__all__ = ["CascadePlan", "DiffusersPlan", "SweepPart", "plan_sweep"]


@dataclass(frozen=True)
class CascadePlan:
    """The part of a sweep that one cascade makes."""

    plan: Plan
    checkpoints: Sequence[Path]
    """Base first. Settled here: a run that is still training has a newer one by the time it is loaded."""
    weights: Weights
    trained_on: DataConfig
    """The pictures that the base was trained on."""
    weaker: Path | None = None
    """Checkpoint of the network that autoguidance leads the base away from."""

    def generator(self, device: str, batch_size: int) -> CascadeGenerator:
        """The cascade itself, ready to make pictures on a device."""
        cascade = load_cascade(self.checkpoints, self.weights, weaker=self.weaker, device=device)
        return CascadeGenerator(cascade, batch_size)


@dataclass(frozen=True)
class DiffusersPlan:
    """The part of a sweep that one diffusers pipeline makes."""

    plan: Plan
    source: str
    options: DiffusersOptions
    trained_on: None = None
    """Nobody says."""

    def generator(self, device: str, batch_size: int) -> Generator:
        """The pipeline itself, ready to make pictures on a device."""
        from eval.generators.diffusers import DiffusersGenerator  # an extra: it need not be installed

        return DiffusersGenerator(self.source, self.options, device, batch_size)


SweepPart = CascadePlan | DiffusersPlan


def plan_sweep(job: SweepJob) -> Sequence[SweepPart]:
    """One plan per pipeline, or per cascade and kind of weights, in the order asked for.

    Reads no weights and writes nothing.

    Raises:
        InputError: suite, reference, a checkpoint or a sampler setting cannot be used, or stages do not fit.
    """
    if bool(job.bases) == (job.diffusers is not None):
        raise InputError("give --base or --diffusers: who is to make the pictures?")
    if (job.weaker is not None) != any(scale != 1 for scale in job.sweep.autoguidance):
        raise InputError(
            "--weaker and --autoguidance go together", "One names the weaker model, the other how strongly."
        )
    suite = load_suite(job.suite, job.limit)
    whole = Plan(suite, cells_of(suite), (), checked_reference(job.reference))
    if job.diffusers is not None:
        return [_plan_pipeline(job.diffusers, job.pipeline, whole)]
    bases = [path for base in job.bases for path in _checkpoints(base, job.over)]
    parts = [
        _plan_cascade(job, whole, base, weights, is_one_of_several=len(bases) > 1)
        for base in bases
        for weights in job.weights
    ]
    idle = job.sweep.of_upsamplers()
    if idle and not any(len(part.checkpoints) > 1 for part in parts):
        raise InputError(
            f"{', '.join(idle)}: nothing here has an upsampler", "Give one with --upsampler, or leave it out."
        )
    return parts


def _plan_pipeline(source: str, options: DiffusersOptions, whole: Plan) -> DiffusersPlan:
    from eval.generators.diffusers import diffusers_settings

    settings = diffusers_settings(source, whole.suite, options)
    return DiffusersPlan(Plan(whole.suite, whole.cells, settings, whole.reference), source, options)


def _checkpoints(base: Path, over: Literal["checkpoints"] | None) -> Sequence[Path]:
    """The base itself, or every checkpoint of it, oldest first."""
    if over is None:
        return [base]
    found = list_checkpoints(base)
    if not found:
        raise InputError(f"{base} holds no checkpoints", "--over checkpoints wants a run directory.")
    return found


def _plan_cascade(
    job: SweepJob, whole: Plan, base: Path, weights: Weights, *, is_one_of_several: bool
) -> CascadePlan:
    checkpoints = [find_checkpoint(path) for path in cascade_paths(base, job.upsamplers)]
    weaker = None if job.weaker is None else find_checkpoint(job.weaker)
    cascade = Cascade(tuple(_outline(checkpoint, weights) for checkpoint in checkpoints))
    about = {"weights": str(weights), "images": _images(checkpoints[0])}
    about |= {} if weaker is None else {"weaker": _outline(weaker, weights).digest}
    name = " ".join([_name(base)] * is_one_of_several + [str(weights)] * (len(job.weights) > 1))
    settings = cascade_settings(cascade, whole.suite, job.sweep, about, name)
    plan = Plan(whole.suite, whole.cells, settings, whole.reference)
    return CascadePlan(plan, checkpoints, weights, load_config(checkpoints[0]).data, weaker)


def _outline(checkpoint: Path, weights: Weights) -> Stage:
    """A stage without numbers: enough to see what fits it, at no cost in time or memory."""
    config = load_config(checkpoint)
    check_weights(config, weights, checkpoint)
    try:
        with torch.device("meta"):
            network = build_network(config.model)
    except (ValueError, RuntimeError, ArithmeticError) as error:
        raise InputError(f"{checkpoint} describes no network that can be built: {error}") from error
    model = StageModel(network, config.diffusion, low_res=config.data.low_res)
    return Stage(model, str(checkpoint), digest_of(checkpoint))


def _images(checkpoint: Path) -> int:
    """Pictures the network was trained on; from the state, so that a checkpoint may have any name."""
    images = read_facts(checkpoint).get("images")
    if type(images) is not int:
        raise InputError(f"{checkpoint}: its state does not say how many images it was trained on")
    return images


def _name(base: Path) -> str:
    """A run by its name, a checkpoint by its run's name and its own."""
    resolved = base.resolve()
    return f"{resolved.parent.name}/{resolved.name}" if resolved.name.startswith("step-") else resolved.name
