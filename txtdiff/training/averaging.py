"""Averages of the weights: the plain mean while the run is young, exponential afterwards.

After k updates an average is the exact mean of the first k + 1 weights until k + 1 reaches 1 / (1 - rate),
and follows `rate` from there (the fork's rule, fork_spec 8.4). So a short run has a useful average, and no
trace of the random start is left in a long one. The count is part of the checkpoint, so a resumed run needs
no correction by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["Averages", "averaged_names", "start_averages", "update_averages"]


@dataclass
class Averages:
    """Running averages of one network's trained weights, in float32."""

    count: int
    """Number of weights averaged so far, the start included."""
    by_rate: dict[float, dict[str, Tensor]] = field(default_factory=dict)
    """rate -> parameter name -> average."""


def averaged_names(network: nn.Module) -> list[str]:
    """Names of the parameters that training changes, in the network's order."""
    return [name for name, weight in network.named_parameters() if weight.requires_grad]


def start_averages(network: nn.Module, rates: Sequence[float]) -> Averages:
    """Averages of one: the weights as they are."""
    weights = dict(network.named_parameters())
    names = averaged_names(network)
    by_rate = {rate: {n: weights[n].detach().float().clone() for n in names} for rate in rates}
    return Averages(count=1, by_rate=by_rate)


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
    for rate, means in averages.by_rate.items():
        share = 1 - rate if start == "exponential" else max(1 / averages.count, 1 - rate)
        news = [weights[name].detach().float() for name in means]
        torch._foreach_lerp_(list(means.values()), news, share)
