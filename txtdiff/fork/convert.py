"""A run of the fork -> a checkpoint of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from datatools.console import messages, plain, say
from datatools.errors import InputError
from txtdiff.config import STORED, RunConfig
from txtdiff.config_files import config_to_toml, validated
from txtdiff.diffusion.config import DiffusionConfig
from txtdiff.fork.files import MODEL_FILE, ForkRun, find_fork_run, read_config_json, read_state, samples_at
from txtdiff.fork.model import numbering_config
from txtdiff.fork.network import build_with_tower, tower_of
from txtdiff.fork.optimizer import fork_moments, read_optimizer
from txtdiff.fork.parse import ForkFlags, refuse_flags
from txtdiff.fork.table_model import MODEL_FLAGS
from txtdiff.fork.training import diffusion_settings
from txtdiff.fork.weights import convert_state, our_names
from txtdiff.model.unet import UNet
from txtdiff.training.averaging import averaged_names
from txtdiff.training.checkpoint import check_free, write_checkpoint
from txtdiff.training.config import AveragingConfig
from txtdiff.training.contents import CONFIG, MODEL, OPTIMIZER, STATE, average_file, profile_file

__all__ = ["ConvertedRun", "convert_fork_model", "convert_fork_run", "read_fork_run"]

_DEFAULT_RATE = 0.9999


class ConvertedRun(NamedTuple):
    """A step of the fork's as a checkpoint of ours that is not written yet."""

    config: RunConfig
    images: int
    files: dict[str, dict[str, Tensor] | str]
    """As `write_checkpoint` takes them."""


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
        InputError: files that are missing, damaged, hostile, or do not fit each other; a whole checkpoint of
            that step in `out`.
    """
    flags = read_config_json(fork_run_dir / "config.json")
    return _write(find_fork_run(fork_run_dir, step), flags, out, caption_weights, batch_size)


def read_fork_run(
    fork_run_dir: Path,
    step: int | None = None,
    caption_weights: str = "pretrained",
    batch_size: int = 1,
    averaging: AveragingConfig | None = None,
) -> ConvertedRun:
    """What `convert_fork_run` writes, with the averages that a run wants; other arguments are its.

    Args:
        averaging: which averages. One that the fork did not keep begins with the weights, as in the fork;
            None: those that it kept.
    """
    flags = read_config_json(fork_run_dir / "config.json")
    return _read(find_fork_run(fork_run_dir, step), flags, caption_weights, batch_size, averaging)


def convert_fork_model(model: Path, flags: ForkFlags, out: Path, caption_weights: str = "pretrained") -> Path:
    """As `convert_fork_run`, for a `modelN.pt` and the flags of a command line (its --resume_checkpoint)."""
    match = MODEL_FILE.fullmatch(model.name)
    if match is None:
        raise InputError(f"{model} is not called modelN.pt", "Give the file as the fork named it.")
    return _write(find_fork_run(model.parent, int(match.group(1))), flags, out, caption_weights)


def _write(run: ForkRun, flags: ForkFlags, out: Path, caption_weights: str, batch_size: int = 1) -> Path:
    check_free(out / f"step-{_images(run, batch_size)}")
    found = _read(run, flags, caption_weights, batch_size)
    return write_checkpoint(out, found.images, found.files)


def _images(run: ForkRun, batch_size: int) -> int:
    return samples_at(run.model.parent, run.step) or (run.step + 1) * batch_size


def _read(
    run: ForkRun,
    flags: ForkFlags,
    caption_weights: str,
    batch_size: int,
    averaging: AveragingConfig | None = None,
) -> ConvertedRun:
    refuse_flags(flags, MODEL_FLAGS)
    state = read_state(run.model)
    network, kept = build_with_tower(flags, state, caption_weights)
    network.load_state_dict(_converted(state, flags, network, kept), strict=False)
    origin = f"step {run.step} of the fork's {run.model.parent}"
    kept_rates = tuple(sorted(run.averages, reverse=True)) or (_DEFAULT_RATE,)
    averages = averaging or AveragingConfig(rates=kept_rates)
    _tell_averages(run, averages.rates, origin)
    files: dict[str, dict[str, Tensor] | str] = {MODEL: network.state_dict()}
    for rate in averages.rates:
        files[average_file(rate)] = _average(run, rate, flags, network, kept)
    for length in averages.lengths:
        files[profile_file(length)] = _trained(network, network.state_dict())
    optimizer = _optimizer(run, flags, state, network)
    if optimizer:
        files[OPTIMIZER] = optimizer
    diffusion = validated(DiffusionConfig, diffusion_settings(flags, network.config), "diffusion")
    groups = {"model": network.config, "diffusion": diffusion, "averaging": averages}
    config = validated(RunConfig, groups, context=STORED)  # the fork takes text that nothing reads
    files[CONFIG] = config_to_toml(config)
    images = _images(run, batch_size)
    # Of an average that was arithmetic from the beginning: the first weights and those after each step.
    facts = {"images": images, "averaging_count": run.step + 2, "started_from": origin}
    files[STATE] = json.dumps(facts, indent=1)
    return ConvertedRun(config, images, files)


def _tell_averages(run: ForkRun, rates: tuple[float, ...], origin: str) -> None:
    """Say which averages are not those of the fork."""
    if not run.averages:
        say(f"{origin} has no averages: its weights stand in for them")
        return
    for rate in rates:
        if rate not in run.averages:
            say(f"{origin} has no average of rate {rate}: its weights stand in for it")
    for rate, path in run.averages.items():
        if rate not in rates:
            say(f"{path.name} is not taken over: averaging.rates does not name it")


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
    weights = network.state_dict()
    if rate in run.averages:
        weights |= _converted(read_state(run.averages[rate]), flags, network, kept)
    return _trained(network, weights)


def _trained(network: UNet, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those of `weights` that training changes, in float32."""
    return {name: weights[name].to(torch.float32) for name in averaged_names(network)}
