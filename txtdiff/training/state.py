"""Everything a run is at one moment, and how it goes into a checkpoint and comes out of one."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from datatools.console import say
from datatools.errors import InputError
from txtdiff.config import RunConfig
from txtdiff.config_files import config_to_toml
from txtdiff.training.averaging import Averages, once_averaged
from txtdiff.training.checkpoint import write_checkpoint
from txtdiff.training.contents import (
    CONFIG,
    MODEL,
    OPTIMIZER,
    STATE,
    average_file,
    profile_file,
    read_facts,
    read_header,
)
from txtdiff.training.metrics import Totals
from txtdiff.training.sharding import whole
from txtdiff.training.tensor_files import read_tensors

__all__ = ["TrainingState", "load_state", "save_state"]

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass
class TrainingState:
    """What changes while training."""

    config: RunConfig
    network: nn.Module
    optimizer: torch.optim.Optimizer
    averages: Averages
    scaler: torch.amp.GradScaler
    totals: Totals
    images: int = 0
    """Pictures trained on."""
    failures: Counter[str] = field(default_factory=Counter)
    """Cause -> how many pictures could not be read."""
    started_from: str | None = None
    """Where the first weights came from, if not from chance."""


def save_state(state: TrainingState, run_dir: Path, leads: bool = True) -> Path | None:
    """Write a checkpoint of `state` and return its directory; None where another process writes it.

    Args:
        leads: whether this process writes. All call it: sharded tensors are put together by all of them.
    """
    averages = state.averages
    facts = {
        "images": state.images,
        "averaging_count": averages.count,
        "profile_steps": averages.steps,
        "totals": state.totals.tolist(),
        "grad_scaler": state.scaler.state_dict(),
        "failures": dict(sorted(state.failures.items())),
        "started_from": state.started_from,
        "torch": str(torch.__version__),
    }
    tensors = {MODEL: state.network.state_dict()}
    tensors |= {average_file(rate): means for rate, means in averages.by_rate.items()}
    tensors |= {profile_file(length): means for length, means in averages.by_length.items()}
    tensors[OPTIMIZER] = _optimizer_tensors(state)
    files: dict[str, dict[str, Tensor] | str] = {name: whole(part) for name, part in tensors.items()}
    if not leads:
        return None
    files[CONFIG] = config_to_toml(state.config)
    files[STATE] = json.dumps(facts, indent=1)
    # What lies there already was found damaged when the run began, or could not be read then: hours of
    # training must not end because it can be read now.
    return write_checkpoint(run_dir, state.images, files, replace=True)


def load_state(state: TrainingState, checkpoint: Path) -> None:
    """Put `state` where the checkpoint was. The checkpoint must have been verified.

    Raises:
        InputError: it does not fit the network or the settings; names what differs.
    """
    facts = read_facts(checkpoint)
    read_tensors(checkpoint / MODEL, state.network.state_dict())
    frozen_since = once_averaged(state.network)
    for rate, means in state.averages.by_rate.items():
        read_tensors(checkpoint / average_file(rate), means, frozen_since)
        if not set(frozen_since).isdisjoint(read_header(checkpoint / average_file(rate))):
            say("the last norm of the frozen caption tower was trained until here; from here on it is frozen")
    for length, means in state.averages.by_length.items():
        read_tensors(checkpoint / profile_file(length), means, frozen_since)
    if (checkpoint / OPTIMIZER).exists():
        _load_optimizer(state, checkpoint / OPTIMIZER)
    try:
        if "totals" not in facts:
            _continue_converted(state, facts)
            return
        state.images = int(facts["images"])
        state.averages.count = int(facts["averaging_count"])
        state.averages.steps = int(facts.get("profile_steps", 0))
        # Sums that came later than the checkpoint's format stand at the end, and begin at nothing.
        state.totals[: len(facts["totals"])] = torch.tensor(facts["totals"], dtype=torch.float64)
        if facts["grad_scaler"]:  # empty when the run so far was not in fp16: the scaler then begins anew
            state.scaler.load_state_dict(facts["grad_scaler"])
        state.failures = Counter({str(cause): int(n) for cause, n in facts["failures"].items()})
        state.started_from = facts["started_from"]
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise InputError(f"{checkpoint / STATE} cannot be used: {error!r}") from error


def _continue_converted(state: TrainingState, facts: dict[str, Any]) -> None:
    """Go on from what `txtdiff convert` made: weights, averages and perhaps the optimiser's state."""
    state.images = int(facts["images"])
    state.started_from = str(facts["started_from"])
    # Right where the fork's average was arithmetic from its step 0; "exponential" does not ask.
    state.averages.count = int(facts["averaging_count"])


def _optimizer_tensors(state: TrainingState) -> dict[str, Tensor]:
    """AdamW's state under "<what>.<parameter>"; parameters that never had a gradient have none."""
    tensors: dict[str, Tensor] = {}
    for name, weight in state.network.named_parameters():
        moments = state.optimizer.state.get(weight, {})
        tensors |= {f"{what}.{name}": moments[what] for what in _MOMENTS if what in moments}
    return tensors


def _load_optimizer(state: TrainingState, path: Path) -> None:
    weights = {n: weight for n, weight in state.network.named_parameters() if weight.requires_grad}
    into: dict[str, Tensor] = {}
    passed_over = {f"{what}.{name}" for what in _MOMENTS for name in once_averaged(state.network)}
    for key in read_header(path):
        if key in passed_over:
            continue
        what, _, name = key.partition(".")
        if what not in _MOMENTS or name not in weights:
            raise InputError(f"{path} holds '{key}', which the network does not have")
        weight = weights[name]
        # AdamW (fused) keeps its counter as float32 beside the weights.
        new = torch.zeros((), dtype=torch.float32, device=weight.device) if what == "step" else None
        moments = state.optimizer.state[weight]
        into[key] = moments[what] = torch.zeros_like(weight) if new is None else new
    read_tensors(path, into, passed_over)
