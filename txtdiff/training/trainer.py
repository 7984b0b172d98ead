"""A training run from start or resume to its end."""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from datatools.atomic import make_directory, write_text_atomic
from datatools.console import progress
from datatools.errors import InputError
from txtdiff.config import RunConfig
from txtdiff.config_files import config_to_toml
from txtdiff.data.batch import Batch, conditions_of, load_batches
from txtdiff.data.order import rank_positions
from txtdiff.data.pictures import open_pictures, rows_for
from txtdiff.data.source import Rows
from txtdiff.model.attention import SelfAttention
from txtdiff.model.blocks import ResBlock
from txtdiff.model.text_attention import TextLayer
from txtdiff.training.bucket import check_upload
from txtdiff.training.checkpoint import sweep
from txtdiff.training.contents import CONFIG
from txtdiff.training.distributed import Ranks, join_ranks, pick_device, wait_for_all
from txtdiff.training.graph import Recorder
from txtdiff.training.sharding import is_sharded
from txtdiff.training.start import check_first_weights, start_or_resume
from txtdiff.training.state import TrainingState
from txtdiff.training.step import train_step
from txtdiff.training.watch import Watch, open_watch

__all__ = ["Outcome", "compile_blocks", "train"]

_held: set[str] = set()
"""Run directories that this process trains in. Its own lock on them keeps out other processes alone."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call of `train` ended."""

    kind: Literal["finished", "was_finished", "stopped"]
    images: int
    """Pictures trained on in all."""
    n_rows: int | None
    """Pictures to choose from; None: they are made while training, no two alike."""
    failures: Counter[str]
    """Cause -> pictures that could not be read, over the whole run."""
    not_uploaded: tuple[Path, ...] = ()
    """Checkpoints that could not be copied to run.upload."""
    leads: bool = True
    """Whether this is the process that speaks for all."""


def never() -> bool:
    """Go on to the end."""
    return False


def do_nothing() -> None:
    """There is nothing to be done when the run begins."""


def train(
    config: RunConfig,
    out: Path,
    should_stop: Callable[[], bool] = never,
    on_begin: Callable[[], None] = do_nothing,
) -> Outcome:
    """Train, or go on training, in the run directory `out`.

    A run that was stopped or killed and is called again with the same settings ends with the same weights,
    averages, optimiser state and metrics, bit for bit on a CPU, as if it had never stopped.

    Args:
        config: the run's settings.
        out: its directory; created if need be.
        should_stop: asked after every step; if true, a checkpoint is written and the call returns.
        on_begin: called once, by one process, when the run is sure to begin.

    Raises:
        InputError: no usable pictures, a directory that cannot be written or holds another model.
    """
    if not config.run.images:
        raise InputError("run.images is 0: how long to train is not said", "Give --images, e.g. --images 4k.")
    device_type = pick_device(config.run.device)
    with join_ranks(device_type) as ranks, _holding(out, ranks), _backends(config):
        _check_ranks(config, ranks)
        if config.run.upload is not None:
            check_upload(config.run.upload, out)
        check_first_weights(config, out)
        rows = rows_for(config.data, config.model)
        n_rows = None if rows is None else len(rows)
        device = torch.device(device_type, ranks.local_rank) if device_type == "cuda" else torch.device("cpu")
        state = start_or_resume(config, out, device, ranks)
        if state.images >= config.run.images:
            return Outcome("was_finished", state.images, n_rows, state.failures, leads=ranks.leads)
        if ranks.leads:
            write_text_atomic(out / CONFIG, config_to_toml(config))
            on_begin()
            if rows is not None and rows.classes:
                write_text_atomic(out / "classes.json", json.dumps(rows.classes, indent=1))
        with open_watch(state, out, rows, ranks) as watch:
            stopped = _loop(state, rows, watch, should_stop, device)
        kind: Literal["stopped", "finished"] = "stopped" if stopped else "finished"
        failed = tuple(watch.not_uploaded)
        return Outcome(kind, state.images, n_rows, state.failures, failed, ranks.leads)


def _loop(
    state: TrainingState,
    rows: Rows | None,
    watch: Watch,
    should_stop: Callable[[], bool],
    device: torch.device,
) -> bool:
    """Step until the end; True when stopped before it."""
    end, size, ranks = state.config.run.images, state.config.data.batch_size, watch.ranks
    forward, recorder = _forward(state, ranks, device), _recorder(state, device)
    state.network.train()
    with progress("training", end - state.images if ranks.leads else None) as advance:
        for batch in _batches(state, rows, ranks, device):
            if state.images == 0 and state.config.run.save_first_batch:
                watch.dump(batch)
            train_step(state, batch, forward, ranks, device, recorder)
            stopped = watch.agree(should_stop())
            watch.after_step(last=stopped or state.images >= end)
            advance(size, watch.note)
            if stopped:
                break
    return state.images < end


def _batches(state: TrainingState, rows: Rows | None, ranks: Ranks, device: torch.device) -> Iterator[Batch]:
    """This rank's share of every batch from where the run stands to its end."""
    config = state.config
    model, data, run = config.model, config.data, config.run
    dataset = open_pictures(rows, data, model, run.seed)
    positions = rank_positions(state.images, run.images, data.batch_size, ranks.rank, ranks.n)
    return load_batches(
        dataset,
        positions,
        conditions_of(model),
        workers=data.workers,
        prefetch=data.prefetch,
        pin_memory=device.type == "cuda",
        seed=run.seed,
    )


def _forward(state: TrainingState, ranks: Ranks, device: torch.device) -> Callable[..., Tensor]:
    """The network as training calls it: compiled, and with gradients averaged over ranks."""
    network: nn.Module = state.network
    if state.config.run.compile == "blocks":
        compile_blocks(network)
    elif state.config.run.compile == "model":
        network.compile()
    if ranks.n > 1 and not is_sharded(network):
        ids = [device.index] if device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(network, device_ids=ids)
    return network


def _recorder(state: TrainingState, device: torch.device) -> Recorder | None:
    if state.config.run.compile != "graph" or device.type != "cuda":
        return None
    return Recorder([weight for weight in state.network.parameters() if weight.requires_grad])


def compile_blocks(network: nn.Module) -> None:
    """Compile each repeated block, in place, when it is first called."""
    blocks = [m for m in network.modules() if isinstance(m, ResBlock | SelfAttention | TextLayer)]
    # All blocks are one function to the compiler, and after eight shapes of a function it gives up.
    dynamo = torch._dynamo.config
    dynamo.recompile_limit = max(dynamo.recompile_limit, 4 * len(blocks))
    for block in blocks:
        block.compile()


@contextmanager
def _backends(config: RunConfig) -> Iterator[None]:
    """torch's switches as the run wants them, and back: "medium" left on costs whoever comes after precision,
    even on a CPU, where one with AMX then multiplies in bf16."""
    cudnn, cuda = torch.backends.cudnn, torch.backends.cuda
    before = torch.get_float32_matmul_precision(), cudnn.benchmark, cudnn.deterministic
    plans = bool(cuda.cudnn_sdp_enabled())  # type: ignore[no-untyped-call]  # torch's own stub lacks it
    # cuDNN's attention makes a plan for every length of text that comes along.
    cuda.enable_cudnn_sdp(False)
    torch.set_float32_matmul_precision(config.run.matmul_precision)
    cudnn.benchmark = config.run.cudnn == "benchmark"
    cudnn.deterministic = config.run.cudnn == "deterministic"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        cudnn.benchmark, cudnn.deterministic = before[1:]
        cuda.enable_cudnn_sdp(plans)


def _check_ranks(config: RunConfig, ranks: Ranks) -> None:
    if config.data.batch_size % ranks.n:
        raise InputError(
            f"data.batch_size = {config.data.batch_size} cannot be shared evenly by {ranks.n} processes",
            f"Use a multiple of {ranks.n}.",
        )
    if ranks.n > 1 and config.run.compile == "graph":
        raise InputError('run.compile = "graph" is for one process', 'Use "blocks" or "off" for several.')


@contextmanager
def _holding(out: Path, ranks: Ranks) -> Iterator[None]:
    """Make the run directory and keep other runs out of it while this one lasts."""
    if not ranks.leads:
        wait_for_all(ranks)
        yield
        return
    key = os.path.realpath(out)
    if key in _held:
        raise InputError(f"this process is training in {out} already", "Choose another --out.")
    _held.add(key)
    try:
        with _locked(out):
            sweep(out)
            wait_for_all(ranks)
            yield
    finally:
        _held.discard(key)


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Make the run directory and keep other processes out of it."""
    try:
        make_directory(out)
        lock = (out / ".lock").open("w")
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}", "Choose another --out.") from error
    with lock:
        try:
            # A record lock is this process' alone. Another kind would be its data workers' as well, and they
            # live on for some seconds when it is killed.
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise InputError(f"another process is training in {out}", "Wait for it, or stop it.") from None
        except OSError as error:  # a file system without locks
            raise InputError(f"{out} cannot be locked: {error.strerror}", "Choose another --out.") from error
        yield
