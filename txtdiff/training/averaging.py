"""Averages of the weights: the plain mean while the run is young, exponential afterwards.

After k updates an average is the exact mean of the first k + 1 weights until k + 1 reaches 1 / (1 - rate),
and follows `rate` from there (the fork's rule, fork_spec 8.4). So a short run has a useful average, and no
trace of the random start is left in a long one. The count is part of the checkpoint, so a resumed run needs
no correction by hand. Beside them, averages of a fixed relative length may be kept (`power_average`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from txtdiff.training.power_average import new_share
from txtdiff.training.sharding import local_part

__all__ = ["Averages", "averaged_names", "once_averaged", "start_averages", "update_averages"]


@dataclass
class Averages:
    """Running averages of one network's trained weights, in float32."""

    count: int
    """Number of weights averaged so far, the start included."""
    by_rate: dict[float, dict[str, Tensor]] = field(default_factory=dict)
    """rate -> parameter name -> average."""
    by_length: dict[float, dict[str, Tensor]] = field(default_factory=dict)
    """relative length -> parameter name -> power-function average."""
    steps: int = 0
    """Optimiser steps in the power-function averages, which do not count the start."""


def averaged_names(network: nn.Module) -> list[str]:
    """Names of the parameters that training changes, in the network's order."""
    return [name for name, weight in network.named_parameters() if weight.requires_grad]


def once_averaged(network: nn.Module) -> list[str]:
    """Names of frozen parameters that older checkpoints have averages of: the norm of a frozen caption tower
    read after its last block was trained, which the fork freezes (fork_spec 6)."""
    frozen = [name for name, weight in network.named_parameters() if not weight.requires_grad]
    return [name for name in frozen if name.startswith("caption_encoder.norm.")]


def start_averages(network: nn.Module, rates: Sequence[float], lengths: Sequence[float] = ()) -> Averages:
    """Averages of one: the weights as they are."""
    weights = dict(network.named_parameters())
    names = averaged_names(network)

    def copies() -> dict[str, Tensor]:
        return {name: weights[name].detach().float().clone() for name in names}

    return Averages(1, {rate: copies() for rate in rates}, {length: copies() for length in lengths})


@torch.no_grad()
def update_averages(
    averages: Averages,
    weights: Mapping[str, Tensor],
    start: Literal["arithmetic", "exponential"] = "arithmetic",
) -> None:
    """Take in the weights after one more optimiser step.

    Args:
        averages: changed in place.
        weights: parameter name -> tensor; those without an average are passed over.
        start: "exponential" skips the arithmetic phase.
    """
    averages.count += 1
    averages.steps += 1
    for rate, means in averages.by_rate.items():
        share = 1 - rate if start == "exponential" else max(1 / averages.count, 1 - rate)
        _move(means, weights, share)
    for length, means in averages.by_length.items():
        _move(means, weights, new_share(averages.steps, length))


def _move(means: Mapping[str, Tensor], weights: Mapping[str, Tensor], share: float) -> None:
    news = [local_part(weights[name].detach()).float() for name in means]
    torch._foreach_lerp_([local_part(mean) for mean in means.values()], news, share)
