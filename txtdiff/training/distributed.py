"""Several processes that train one network, started by torchrun."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from datatools.console import messages, plain
from datatools.errors import InputError
from txtdiff.training.launch import n_launched

__all__ = [
    "Ranks",
    "from_leader",
    "join_ranks",
    "pick_device",
    "sum_counts",
    "sum_over_ranks",
    "wait_for_all",
]

T = TypeVar("T")

_DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]{1,4})?")


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those that train together."""

    rank: int = 0
    n: int = 1
    local_rank: int = 0
    """Number of this process on its machine."""

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0


@contextmanager
def join_ranks(device: str) -> Iterator[Ranks]:
    """The processes torchrun started, joined while the block runs; alone where there is no torchrun.

    Args:
        device: "cuda" joins through NCCL, "cpu" through gloo.
    """
    n = n_launched()
    if n is None:
        yield Ranks()
        return
    ranks = Ranks(
        rank=int(os.environ["RANK"]),
        n=n,
        local_rank=int(os.environ.get("LOCAL_RANK", "0")),
    )
    if device == "cuda":
        torch.cuda.set_device(ranks.local_rank)
    dist.init_process_group("nccl" if device == "cuda" else "gloo", rank=ranks.rank, world_size=ranks.n)
    # One of them speaks; what goes wrong is told by each, outside.
    messages.quiet = not ranks.leads
    try:
        yield ranks
    finally:
        messages.quiet = False
        dist.destroy_process_group()


def pick_device(wanted: str) -> str:
    """The device that "auto", "cpu", "cuda" or "cuda:<number>" means here.

    Raises:
        InputError: another word, or a GPU is demanded that is not there.
    """
    if not _DEVICE.fullmatch(wanted):
        raise InputError(f"device '{plain(wanted)}' is unknown", "Use auto, cpu, cuda or cuda:<number>.")
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        return "cuda" if n_gpus else "cpu"
    if wanted == "cpu":
        return wanted
    if not n_gpus:
        raise InputError(f"device {wanted}: torch finds no GPU", "Use cpu or auto, or mend the driver.")
    if int(wanted.partition(":")[2] or 0) >= n_gpus:
        raise InputError(f"device {wanted}: there are {n_gpus} GPUs", f"Use cuda:0 to cuda:{n_gpus - 1}.")
    return wanted


def sum_over_ranks(values: Tensor, ranks: Ranks) -> Tensor:
    """The sum of every rank's `values`, on every rank."""
    if ranks.n > 1:
        values = values.clone()
        dist.all_reduce(values)
    return values


def sum_counts(counts: Counter[str], ranks: Ranks) -> Counter[str]:
    """The sum of every rank's `counts`, on every rank."""
    if ranks.n == 1:
        return counts
    gathered: list[Counter[str]] = [Counter()] * ranks.n
    dist.all_gather_object(gathered, counts)
    return sum(gathered, Counter())


def from_leader(decide: Callable[[], T], ranks: Ranks) -> T:
    """What the leading rank's `decide` returns, on every rank; the others do not call it.

    Raises:
        InputError, OSError: the leading rank's, on every rank: none may wait for one that is gone.
    """
    if ranks.n == 1:
        return decide()
    told: list[Any] = [None]
    if ranks.leads:
        try:
            told = [decide()]
        except (InputError, OSError) as error:
            told = [error]
    dist.broadcast_object_list(told)
    if isinstance(told[0], InputError | OSError):
        raise told[0]
    result: T = told[0]
    return result


def wait_for_all(ranks: Ranks) -> None:
    """Return when every rank has come here."""
    if ranks.n > 1:
        dist.barrier()
