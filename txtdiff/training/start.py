"""The beginning of a run: fresh weights, given weights, or the newest checkpoint."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from datatools.console import say
from datatools.errors import InputError
from txtdiff.config import RunConfig
from txtdiff.config_files import config_to_toml, plain_tree
from txtdiff.data.order import seed_at
from txtdiff.model.caption_encoder import tower_size
from txtdiff.model.caption_weights import check_caption_weights, load_caption_tower
from txtdiff.model.unet import build_network
from txtdiff.training.averaging import start_averages
from txtdiff.training.bucket import fetch_newer
from txtdiff.training.checkpoint import list_checkpoints, newest_checkpoint, write_checkpoint
from txtdiff.training.contents import CONFIG, load_config
from txtdiff.training.distributed import Ranks, from_leader
from txtdiff.training.metrics import new_totals
from txtdiff.training.optimizer import make_optimizer
from txtdiff.training.sharding import is_sharded, shard
from txtdiff.training.state import TrainingState, load_state
from txtdiff.training.weights import load_network

__all__ = ["check_first_weights", "start_or_resume"]

_FIXED_GROUPS = ("model.", "diffusion.", "averaging.")
"""Settings that a checkpoint cannot be continued without."""

_FREE = {
    "model.dropout",
    "model.recompute_resolutions_px",
    "model.captions.weights",
    "model.captions.pretrained_tag",
    "averaging.snapshot_every_images",
}
"""Those among them that no tensor depends on once the run has begun."""

Change = tuple[str, str]
"""A setting's name, and what is said of it: "name: old -> new"."""


def check_first_weights(config: RunConfig, out: Path) -> None:
    """Tell of a caption tower whose weights a new run could not have, before its pictures are looked through.

    Raises:
        InputError: they cannot be had.
    """
    run = config.run
    if run.init is None and run.upload is None and not list_checkpoints(out):
        check_caption_weights(config.model.captions)


def start_or_resume(config: RunConfig, out: Path, device: torch.device, ranks: Ranks) -> TrainingState:
    """The state of the run in `out`: its newest valid checkpoint, or the beginning.

    Raises:
        InputError: the checkpoint belongs to another model, or run.init cannot be used.
    """
    # One decides for all: what the others find depends on how far it has come.
    checkpoint = from_leader(lambda: _checkpoint(config, out), ranks)
    if checkpoint is not None:
        _compare(load_config(checkpoint), config, checkpoint, ranks)
    torch.manual_seed(seed_at(config.run.seed, "first_weights", 0))
    network = build_network(config.model)
    started_from = None
    if checkpoint is None:
        if config.run.init is None:
            load_caption_tower(network)
        else:
            started_from = _take_weights(network, config.run.init)
    if config.run.sharding == "full" and ranks.n > 1:
        shard(network, ranks.n, device)
    network = network.to(device)
    if device.type == "cuda" and config.optim.precision != "fp32" and not is_sharded(network):
        # Tensor cores read channels last; otherwise every convolution transposes what comes and goes.
        network = network.to(memory_format=torch.channels_last)
    state = _new_state(config, network, device)
    state.started_from = started_from
    if checkpoint is not None:
        load_state(state, checkpoint)
        if not ranks.leads:  # sums over all ranks, which one of them carries on
            state.totals, state.failures = new_totals(device), Counter()
        if ranks.leads:
            say(f"going on from {checkpoint}")
    return state


def _checkpoint(config: RunConfig, out: Path) -> Path | None:
    """What a run goes on from: its newest checkpoint, or one from where an earlier run copied its own, or a
    converted one; None: it begins."""
    newest, run = newest_checkpoint(out), config.run
    if run.upload is not None:
        newest = fetch_newer(run.upload, out, newest) or newest
    if newest is None and list_checkpoints(out):
        raise InputError(
            f"no checkpoint in {out} is whole", "Move them away to begin anew, or choose another --out."
        )
    if newest is None and run.init is not None and run.init.suffix == ".pt":
        newest = _convert(run.init, config, out)
    return newest


def _convert(model: Path, config: RunConfig, out: Path) -> Path:
    """Turn a modelN.pt of the fork, with what lies beside it, into the first checkpoint of this run.

    It has this run's settings, which its network was found to have. Nothing is written where it has others.
    """
    from txtdiff.fork.convert import read_fork_run  # needed by those who come from the fork alone

    step = re.fullmatch(r"model(\d+)", model.stem)
    if step is None or not model.is_file():
        raise InputError(f"run.init: {model} is no modelN.pt of the parent project")
    captions = config.model.captions
    found = read_fork_run(
        model.parent,
        int(step[1]),
        caption_weights="pretrained" if captions is None else captions.weights,
        batch_size=config.data.batch_size,
        averaging=config.averaging,
    )
    _refuse_others(_changes(found.config, config), model, "Give the flags that it was trained with.")
    return write_checkpoint(out, found.images, {**found.files, CONFIG: config_to_toml(config)})


def _new_state(config: RunConfig, network: nn.Module, device: torch.device) -> TrainingState:
    optim = config.optim
    scaler = torch.amp.GradScaler(
        device.type,
        enabled=optim.precision == "fp16" and device.type == "cuda",
        init_scale=2.0**optim.loss_scale_log2,
        growth_interval=optim.loss_scale_growth_steps,
    )
    return TrainingState(
        config=config,
        network=network,
        optimizer=make_optimizer(network, optim),
        averages=start_averages(network, config.averaging.rates, config.averaging.lengths),
        scaler=scaler,
        totals=new_totals(device),
    )


def _take_weights(network: nn.Module, source: Path) -> str:
    """Copy the averaged weights of a checkpoint into a new run's network."""
    given, wanted = load_network(source)[0].state_dict(), network.state_dict()
    names = list(dict.fromkeys([*wanted, *given]))
    lines = [_unlike(name, given.get(name), wanted.get(name)) for name in names]
    faults = [line for line in lines if line is not None]
    if faults:
        listed = "\n  ".join(faults[:3])
        more = f"\n  … and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise InputError(
            f"run.init: {source} is another network: {len(faults)} of {len(names)} tensors differ:"
            f"\n  {listed}{more}",
            "Give --init without preset and settings file, which takes the settings of that checkpoint, or "
            "set model.* as its config.toml has them.",
        )
    network.load_state_dict(given)
    return str(source)


def _unlike(name: str, given: Tensor | None, wanted: Tensor | None) -> str | None:
    """How a tensor of run.init differs from the network's in shape; None when it does not."""
    theirs, ours = ("none" if tensor is None else str(list(tensor.shape)) for tensor in (given, wanted))
    return None if theirs == ours else f"{name}: {theirs} there, {ours} here"


def _compare(saved: RunConfig, wanted: RunConfig, checkpoint: Path, ranks: Ranks) -> None:
    """Refuse what cannot be continued; say what else has changed."""
    changes = _changes(saved, wanted)
    remedy = "Choose another --out, or train with the settings of that run (its config.toml)."
    _refuse_others(changes, checkpoint, remedy)
    for name, line in changes if ranks.leads else []:
        if name != "run.init":  # where the run began, however that is spelled now
            say(line, warning="changed since the checkpoint")


def _refuse_others(changes: Sequence[Change], source: Path, remedy: str) -> None:
    """Refuse settings that `source` cannot be continued with."""
    fatal = [line for name, line in changes if name.startswith(_FIXED_GROUPS) and name not in _FREE]
    if fatal:
        listed = "\n  ".join(fatal)
        raise InputError(f"{source} was trained with other settings:\n  {listed}", remedy)


def _changes(saved: RunConfig, wanted: RunConfig) -> list[Change]:
    old, new = (plain_tree(_with_sizes(config)) for config in (saved, wanted))
    return list(_differences(old, new))


def _with_sizes(config: RunConfig) -> RunConfig:
    """The settings with the sizes of a named caption tower, which a converted checkpoint has spelled out."""
    captions = config.model.captions
    if captions is None:
        return config
    captions = captions.model_copy(update={"size": tower_size(captions)})
    return config.model_copy(update={"model": config.model.model_copy(update={"captions": captions})})


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> Iterator[Change]:
    """Every setting that differs."""
    for name in {**old, **new}:
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{prefix}{name}.")
        elif before != after:
            yield f"{prefix}{name}", f"{prefix}{name}: {before} -> {after}"
