"""A network from a checkpoint, for sampling and scoring."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch

from datatools.errors import InputError
from txtdiff.config import RunConfig
from txtdiff.model.config import ModelConfig
from txtdiff.model.unet import UNet, build_network
from txtdiff.training.averaging import averaged_names, once_averaged
from txtdiff.training.checkpoint import find_checkpoint
from txtdiff.training.contents import (
    CAPTION_TOWER,
    CONFIG,
    MODEL,
    average_file,
    load_config,
    read_header,
)
from txtdiff.training.tensor_files import check_shapes, read_tensors
from txtdiff.which_weights import Weights

__all__ = ["TOWER_PREFIX", "check_weights", "load_network", "read_network"]

TOWER_PREFIX = "caption_encoder."

T = TypeVar("T")


def load_network(path: Path, weights: Weights = "averaged") -> tuple[UNet, RunConfig]:
    """The network of a checkpoint, in eval mode on the CPU, and the settings it was trained with.

    Args:
        path: a run directory (its newest valid checkpoint is taken) or a step-<images>.
        weights: which weights.

    Raises:
        InputError: no checkpoint there, a damaged one, or files that do not fit each other.
    """
    return read_network(find_checkpoint(path), weights)


def read_network(checkpoint: Path, weights: Weights = "averaged") -> tuple[UNet, RunConfig]:
    """As `load_network`, of a checkpoint that `find_checkpoint` gave: it was verified, and is not again."""
    config = load_config(checkpoint)
    check_weights(config, weights, checkpoint)
    # Shapes are compared before memory is taken: the settings are a stranger's and could ask for any amount.
    for file, shapes in _files(checkpoint, _shapes(config.model, checkpoint)).items():
        check_shapes(file, shapes)
    network = build_network(config.model)
    for file, tensors in _files(checkpoint, network.state_dict()).items():
        read_tensors(file, tensors)
    average = None if weights == "raw" else checkpoint / average_file(_rate(config, weights))
    # An exported checkpoint has one set of weights. (That no file has gone since it was written, its manifest
    # says.)
    if average is not None and average.exists():
        tensors = network.state_dict()
        held = read_header(average)
        names = averaged_names(network) + [name for name in once_averaged(network) if name in held]
        read_tensors(average, {name: tensors[name] for name in names})
    return network.eval().requires_grad_(False), config


def _files(checkpoint: Path, tensors: Mapping[str, T]) -> dict[Path, dict[str, T]]:
    """Which tensors stand in which file; an exported checkpoint has its caption tower apart."""
    if not (checkpoint / CAPTION_TOWER).exists():
        return {checkpoint / MODEL: dict(tensors)}
    tower = {name: tensor for name, tensor in tensors.items() if name.startswith(TOWER_PREFIX)}
    rest = {name: tensor for name, tensor in tensors.items() if name not in tower}
    return {checkpoint / MODEL: rest, checkpoint / CAPTION_TOWER: tower}


def check_weights(config: RunConfig, weights: Weights, checkpoint: Path) -> None:
    """See that a checkpoint holds such weights; nothing is read.

    Raises:
        InputError: it does not; says which it has.
    """
    held = [rate for rate in config.averaging.rates if (checkpoint / average_file(rate)).exists()]
    if isinstance(weights, float) and weights not in held:
        has = f"It has {', '.join(map(str, held))}." if held else "It holds one set of weights: averaged."
        raise InputError(f"{checkpoint} has no average of rate {weights}", has)


def _rate(config: RunConfig, weights: Weights) -> float:
    return config.averaging.rates[0] if isinstance(weights, str) else weights


def _shapes(config: ModelConfig, checkpoint: Path) -> dict[str, tuple[int, ...]]:
    try:
        with torch.device("meta"):
            network = build_network(config)
    except (ValueError, RuntimeError, ArithmeticError) as error:
        raise InputError(f"{checkpoint / CONFIG} describes no network that can be built: {error}") from error
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
