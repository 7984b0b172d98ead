"""One network split among processes (FSDP2): each keeps a part of weights, gradients, moments and averages.

A sharded tensor is a DTensor. Everything that must see whole tensors, or must touch only this process's part,
goes through the functions here; elsewhere a DTensor is a Tensor like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from txtdiff.model.blocks import ResBlock

__all__ = [
    "average_whole_gradients",
    "clip_sharded",
    "fill",
    "is_sharded",
    "local_part",
    "shard",
    "sync_gradients",
    "whole",
]


def shard(network: nn.Module, n_ranks: int, device: torch.device) -> None:
    """Split the network's parameters among `n_ranks` processes, in place; a collective of all of them.

    A residual block is put together when it is computed; the rest of the network is one unit.
    """
    mesh = init_device_mesh(device.type, (n_ranks,))
    # Single numbers cannot be split: every process keeps them, and their gradients are averaged by hand.
    single = {weight for weight in network.parameters() if weight.ndim == 0}
    for module in reversed([*network.modules()]):
        if module is network or isinstance(module, ResBlock):
            fully_shard(module, mesh=mesh, ignored_params=single)


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with all their parts; sharded ones as CPU copies, which all processes make together."""
    return {
        name: tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor
        for name, tensor in tensors.items()
    }


def fill(target: Tensor, value: Tensor) -> None:
    """Copy a whole tensor into `target`, of which a process perhaps holds a part; no communication."""
    if isinstance(target, DTensor):
        mesh, placements = target.device_mesh, target.placements
        value = distribute_tensor(value.to(target.device), mesh, placements, src_data_rank=None)
    target.copy_(value)


def local_part(tensor: Tensor) -> Tensor:
    """This process's part, in the same memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def average_whole_gradients(network: nn.Module) -> None:
    """Average over processes the gradients of what is not sharded; FSDP has done so with the rest."""
    for weight in network.parameters():
        if weight.grad is not None and not isinstance(weight.grad, DTensor):
            dist.all_reduce(weight.grad)
            weight.grad /= dist.get_world_size()


@torch.no_grad()
def clip_sharded(weights: Iterable[Tensor], limit: float) -> Tensor:
    """As `nn.utils.clip_grad_norm_`: the norm of all gradients, which are scaled down to `limit` above it."""
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    squares = {
        kind: sum(
            (local_part(g).float().square().sum() for g in gradients if isinstance(g, DTensor) is kind),
            start=torch.zeros((), device=gradients[0].device),
        )
        for kind in (True, False)
    }
    dist.all_reduce(squares[True])
    norm = (squares[True] + squares[False]).sqrt()
    torch._foreach_mul_([local_part(g) for g in gradients], (limit / (norm + 1e-6)).clamp(max=1.0))
    return norm


def is_sharded(network: nn.Module) -> bool:
    """Whether `shard` has been here."""
    return isinstance(network, FSDPModule)


def sync_gradients(network: nn.Module, wanted: bool) -> None:
    """Whether the next backward passes end with the gradients' reduction; without it they add up locally."""
    assert isinstance(network, FSDPModule)
    network.set_requires_gradient_sync(wanted)
