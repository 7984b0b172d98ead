"""Copies of the power-function averages in profiles/, and averages of any length made from them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from datatools.atomic import atomic_open
from datatools.console import messages, progress
from datatools.errors import InputError
from txtdiff.config import RunConfig
from txtdiff.config_files import config_to_toml
from txtdiff.model.unet import UNet
from txtdiff.training.averaging import once_averaged
from txtdiff.training.checkpoint import check_free, write_checkpoint
from txtdiff.training.config import AveragingConfig
from txtdiff.training.contents import CONFIG, MODEL, STATE, average_file, read_header
from txtdiff.training.power_average import Profile, mixture
from txtdiff.training.sharding import whole
from txtdiff.training.state import TrainingState
from txtdiff.training.tensor_files import check_shapes, stream_tensors
from txtdiff.training.weights import load_network

__all__ = ["remove_later_snapshots", "synthesise", "write_snapshot"]

FOLDER = "profiles"
_NAME = re.compile(r"length-(0\.\d{1,9})-step-(\d{1,15})-images-(\d{1,18})\.safetensors")
_GOOD = 0.1
"""A mixture whose profile is further from the wanted one than this is told with a warning."""


class _Snapshot(NamedTuple):
    path: Path
    profile: Profile
    images: int


def write_snapshot(state: TrainingState, run_dir: Path, leads: bool) -> None:
    """Keep a copy, in half precision, of each power-function average. All processes call it, one writes."""
    averages = state.averages
    for length, means in averages.by_length.items():
        tensors = whole(means)
        name = f"length-{length}-step-{averages.steps}-images-{state.images}.safetensors"
        if not leads:
            continue
        try:
            with atomic_open(run_dir / FOLDER / name) as file:
                stream_tensors({name: mean.half() for name, mean in tensors.items()}, file.write)
        except OSError as error:
            raise InputError(
                f"the averages cannot be written to {run_dir / FOLDER}: {error.strerror}",
                "Checkpoints are whole. Make room and run the same command again.",
            ) from error


def remove_later_snapshots(run_dir: Path, images: int) -> None:
    """Remove copies beyond `images`: they are of a run that was killed, and come again."""
    for snapshot in _snapshots(run_dir):
        if snapshot.images > images:
            snapshot.path.unlink()


def _snapshots(run_dir: Path) -> list[_Snapshot]:
    paths = (run_dir / FOLDER).iterdir() if (run_dir / FOLDER).is_dir() else ()
    found = [
        _Snapshot(path, Profile(float(match[1]), int(match[2])), int(match[3]))
        for path in paths
        if (match := _NAME.fullmatch(path.name))
    ]
    return sorted(found, key=lambda snapshot: (snapshot.images, snapshot.profile.length))


def synthesise(run_dir: Path, length: float, out: Path, images: int | None = None) -> Path:
    """Make a checkpoint whose weights are the run's average of another length.

    Args:
        run_dir: a run with averaging.lengths.
        length: relative standard deviation of the wanted profile, above 0 and below 0.288.
        out: run directory in which the checkpoint is made.
        images: after how many images; None: at the newest copy.

    Returns:
        The checkpoint, for sampling or `--init`; it has no optimiser.

    Raises:
        InputError: no copies, a length out of range, copies that do not fit the network or are damaged, a
            whole checkpoint of that name in `out`.
    """
    if not 0 < length < 0.288:
        raise InputError(f"--ema-length {length} is no length", "Use more than 0 and less than 0.288.")
    snapshots = _snapshots(run_dir)
    if not snapshots:
        raise InputError(
            f"{run_dir} holds no copies of power-function averages",
            "They are kept by a run with --set averaging.lengths=0.05,0.1.",
        )
    at = snapshots[-1].images if images is None else images
    used = [snapshot for snapshot in snapshots if snapshot.images <= at]
    if not used or used[-1].images != at:
        known = ", ".join(str(n) for n in sorted({snapshot.images for snapshot in snapshots}))
        raise InputError(f"{run_dir} has no copy at {at} images", f"It has {known}.")
    check_free(out / f"step-{at}")
    shares, distance = mixture(
        [snapshot.profile for snapshot in used], Profile(length, used[-1].profile.step)
    )
    if distance > _GOOD:
        messages.print(
            f"[yellow]coarse:[/] the nearest mixture of {len(used)} copies differs from a profile of length "
            f"{length} by {distance:.0%} of its norm; keep copies more often or choose a length nearer to "
            "those kept",
            soft_wrap=True,
        )
    network, config = load_network(run_dir, "raw")
    own = network.state_dict()
    # The newest copy has the parameters that are trained; older ones may have more (`once_averaged`).
    shapes = {name: shape for name, shape in read_header(used[-1].path).items() if name in own}
    averaged = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}
    frozen_since = [name for name in once_averaged(network) if name not in averaged]
    with progress("mixing copies", len(used)) as advance:
        for snapshot, share in zip(used, shares.tolist(), strict=True):
            _add(averaged, snapshot.path, share, frozen_since)
            advance()
    mean = {name: tensor.to(own[name].dtype) for name, tensor in averaged.items()}
    origin = f"average of length {length} of {run_dir} at {at} images"
    return _write(network, mean, config, out, {"images": at, "averaging_count": 1, "started_from": origin})


def _add(averaged: Mapping[str, Tensor], path: Path, share: float, passed_over: Collection[str]) -> None:
    check_shapes(path, {name: tuple(tensor.shape) for name, tensor in averaged.items()}, passed_over)
    with safe_open(path, framework="pt") as file:
        for name, tensor in averaged.items():
            tensor.add_(file.get_tensor(name).double(), alpha=share)


def _write(
    network: UNet, mean: dict[str, Tensor], config: RunConfig, out: Path, facts: dict[str, Any]
) -> Path:
    """A checkpoint in which both the weights and the (only) average are `mean`."""
    try:
        network.load_state_dict(mean, strict=False)
    except RuntimeError as error:
        raise InputError(f"the copies do not fit the network: {error}") from error
    rate = config.averaging.rates[0]
    config = config.model_copy(update={"averaging": AveragingConfig(rates=(rate,))})
    files: dict[str, Mapping[str, Tensor] | str] = {
        MODEL: network.state_dict(),
        average_file(rate): mean,
        CONFIG: config_to_toml(config),
        STATE: json.dumps(facts, indent=1),
    }
    return write_checkpoint(out, facts["images"], files)
