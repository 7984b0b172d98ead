"""A run of the fork -> a checkpoint of ours."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from datatools.console import messages, plain, say
from datatools.errors import InputError
from txtdiff.config import RunConfig
from txtdiff.config_files import config_to_toml
from txtdiff.diffusion.config import DiffusionConfig
from txtdiff.fork.files import MODEL_FILE, ForkRun, find_fork_run, read_config_json, read_state, samples_at
from txtdiff.fork.model import numbering_config
from txtdiff.fork.network import build_with_tower, tower_of
from txtdiff.fork.optimizer import fork_moments, read_optimizer
from txtdiff.fork.parse import ForkFlags, refuse_flags
from txtdiff.fork.table_model import MODEL_FLAGS
from txtdiff.fork.training import diffusion_settings
from txtdiff.fork.weights import convert_state, our_names
from txtdiff.model.config import ModelConfig
from txtdiff.model.unet import UNet
from txtdiff.training.averaging import averaged_names
from txtdiff.training.checkpoint import write_checkpoint
from txtdiff.training.config import AveragingConfig
from txtdiff.training.contents import CONFIG, MODEL, OPTIMIZER, STATE, average_file

__all__ = ["convert_fork_model", "convert_fork_run"]

_DEFAULT_RATE = 0.9999


def convert_fork_run(
    fork_run_dir: Path,
    out: Path,
    step: int | None = None,
    caption_weights: str = "pretrained",
    batch_size: int = 1,
) -> Path:
    """Write the fork's weights of one step as a checkpoint of ours.

    Reads `config.json`, `modelN.pt`, `ema_<rate>_N.pt` and, if it is there, `optN.pt`.

    Args:
        fork_run_dir: the folder of the fork's run.
        out: run directory of ours, in which `step-<images>` is made.
        step: which of its steps; None = the newest.
        caption_weights: where a frozen caption tower comes from, which the fork does not store:
            "pretrained", "random" or a file.
        batch_size: of the run, to count pictures where there is no progress.csv.

    Returns:
        The checkpoint.

    Raises:
        InputError: files that are missing, damaged, hostile, or do not fit each other.
    """
    flags = read_config_json(fork_run_dir / "config.json")
    return _write(find_fork_run(fork_run_dir, step), flags, out, caption_weights, batch_size)


def convert_fork_model(model: Path, flags: ForkFlags, out: Path, caption_weights: str = "pretrained") -> Path:
    """As `convert_fork_run`, for a `modelN.pt` and the flags of a command line (its --resume_checkpoint)."""
    match = MODEL_FILE.fullmatch(model.name)
    if match is None:
        raise InputError(f"{model} is not called modelN.pt", "Give the file as the fork named it.")
    return _write(find_fork_run(model.parent, int(match.group(1))), flags, out, caption_weights)


def _write(run: ForkRun, flags: ForkFlags, out: Path, caption_weights: str, batch_size: int = 1) -> Path:
    refuse_flags(flags, MODEL_FLAGS)
    state = read_state(run.model)
    network, kept = build_with_tower(flags, state, caption_weights)
    network.load_state_dict(_converted(state, flags, network, kept), strict=False)
    rates = tuple(sorted(run.averages, reverse=True)) or (_DEFAULT_RATE,)
    images = samples_at(run.model.parent, run.step) or (run.step + 1) * batch_size
    files: dict[str, dict[str, Tensor] | str] = {MODEL: network.state_dict()}
    for rate in rates:
        files[average_file(rate)] = _average(run, rate, flags, network, kept)
    optimizer = _optimizer(run, flags, state, network)
    if optimizer:
        files[OPTIMIZER] = optimizer
    files[CONFIG] = config_to_toml(_run_config(flags, network.config, rates))
    origin = f"step {run.step} of the fork's {run.model.parent}"
    # Of an average that was arithmetic from the beginning: the first weights and those after each step.
    facts = {"images": images, "averaging_count": run.step + 2, "started_from": origin}
    files[STATE] = json.dumps(facts, indent=1)
    if not run.averages:
        say(f"{origin} has no averages: its weights stand in for them")
    return write_checkpoint(out, images, files)


def _optimizer(run: ForkRun, flags: ForkFlags, state: dict[str, Tensor], network: UNet) -> dict[str, Tensor]:
    """AdamW's state of the weights that are trained, as ours; empty, with a message, if it cannot be had."""
    path = run.model.with_name(run.model.name.replace("model", "opt"))
    if not path.is_file():
        return {}
    ours = our_names(state, numbering_config(flags, tower_of(state)))
    try:
        found = fork_moments(read_optimizer(path), {key: state[key] for key in ours})
    except InputError as error:
        messages.print(
            f"{plain(path.name)} is not taken over, the optimiser begins anew: {plain(error.what)}",
            markup=False,
            soft_wrap=True,
        )
        return {}
    shapes = {
        name: tuple(weight.shape) for name, weight in network.named_parameters() if weight.requires_grad
    }
    return {
        f"{what}.{ours[key]}": tensor if what == "step" else tensor.reshape(shapes[ours[key]])
        for key, moments in found.items()
        if ours[key] in shapes
        for what, tensor in moments.items()
    }


def _converted(
    state: dict[str, Tensor], flags: ForkFlags, network: UNet, kept: frozenset[str]
) -> dict[str, Tensor]:
    return convert_state(state, numbering_config(flags, tower_of(state)), network, kept)


def _average(
    run: ForkRun, rate: float, flags: ForkFlags, network: UNet, kept: frozenset[str]
) -> dict[str, Tensor]:
    """Averages of the parameters that training changes."""
    names = averaged_names(network)
    weights = network.state_dict()
    if rate in run.averages:
        weights |= _converted(read_state(run.averages[rate]), flags, network, kept)
    return {name: weights[name].to(torch.float32) for name in names}


def _run_config(flags: ForkFlags, model: ModelConfig, rates: tuple[float, ...]) -> RunConfig:
    return RunConfig(
        model=model,
        diffusion=DiffusionConfig.model_validate(diffusion_settings(flags, model)),
        averaging=AveragingConfig(rates=rates),
    )
