"""One optimiser step: a batch of pictures in, changed weights and averages out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from txtdiff.config import RunConfig
from txtdiff.data.batch import Batch, to_network_range
from txtdiff.data.low_res import make_low_res
from txtdiff.data.order import noise_at, seed_at, uniform_at
from txtdiff.diffusion.config import DiffusionConfig
from txtdiff.diffusion.losses import LossTerms, add_noise, timesteps_at, training_losses
from txtdiff.diffusion.naming import losses_with_names
from txtdiff.diffusion.schedule import make_schedule
from txtdiff.training.averaging import update_averages
from txtdiff.training.distributed import Ranks
from txtdiff.training.metrics import Overflow, add_grad_norm, add_losses
from txtdiff.training.optimizer import rate_factor, set_rates
from txtdiff.training.sharding import average_whole_gradients, clip_sharded, is_sharded, sync_gradients
from txtdiff.training.state import TrainingState

__all__ = ["Inputs", "autocast", "make_inputs", "picture_losses", "train_step"]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What one forward pass takes, all on the training device."""

    x0: Tensor
    """(B, C, H, W) in [-1, 1]."""
    t: Tensor
    """(B,) int64 timesteps."""
    noise: Tensor
    """(B, C, H, W)."""
    cond: dict[str, Tensor]
    """Conditioning, as keyword arguments of the network."""
    characters: Tensor | None = None
    """(B, M, M) int64: which character stands where, for a network that learns to name them."""


def train_step(
    state: TrainingState, batch: Batch, forward: Callable[..., Tensor], ranks: Ranks, device: torch.device
) -> None:
    """Train on one rank's share of a batch.

    Args:
        state: changed in place; `state.images` counts the pictures of all ranks.
        batch: this rank's pictures.
        forward: the network, perhaps compiled or wrapped for several ranks.
    """
    config = state.config
    set_rates(state.optimizer, rate_factor(state.images, config.data.batch_size, config.optim))
    parts = list(_split(batch, config.optim.microbatch))
    for i, part in enumerate(parts):
        with _without_sync(forward, last=i == len(parts) - 1):
            _backward(state, part, len(batch), forward, device)
    _update_weights(state)
    state.images += len(batch) * ranks.n
    state.failures.update(cause for _, cause in batch.failures)


def _backward(
    state: TrainingState, part: Batch, n_local: int, forward: Callable[..., Tensor], device: torch.device
) -> None:
    config = state.config
    inputs = make_inputs(part, config, device)
    # Dropout is the only other chance in a step; it too must not depend on what was drawn before.
    torch.manual_seed(seed_at(config.run.seed, "network", part.positions[0]))
    with autocast(config, device):
        terms = picture_losses(forward, inputs, config.diffusion)
    # The mean over the batch, whatever the number of parts; ranks are averaged by their wrapper.
    loss: Tensor = state.scaler.scale(terms.loss.sum() / n_local)
    loss.backward()  # type: ignore[no-untyped-call]  # torch's own stub lacks it
    add_losses(state.totals, terms, inputs.t, config.diffusion.n_steps, _overflow(state))


def picture_losses(forward: Callable[..., Any], inputs: Inputs, diffusion: DiffusionConfig) -> LossTerms:
    """The losses of each picture, with the naming of characters where the network learns it."""
    given = (forward, inputs.x0, inputs.t, inputs.noise, inputs.cond)
    if inputs.characters is None:
        return training_losses(*given, diffusion)
    return losses_with_names(*given, inputs.characters, diffusion)


def _update_weights(state: TrainingState) -> None:
    optim = state.config.optim
    state.scaler.unscale_(state.optimizer)
    trained = [weight for group in state.optimizer.param_groups for weight in group["params"]]
    limit = optim.clip_grad_norm or float("inf")
    if is_sharded(state.network):
        average_whole_gradients(state.network)
        norm = clip_sharded(trained, limit)
    else:
        norm = nn.utils.clip_grad_norm_(trained, limit)
    add_grad_norm(state.totals, norm, _overflow(state))
    scale = state.scaler.get_scale()
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)
    # A lower scale says that fp16 overflowed and the step was left out: nothing new to average.
    if state.scaler.get_scale() >= scale:
        weights = dict(state.network.named_parameters())
        update_averages(state.averages, weights, state.config.averaging.start)


def _overflow(state: TrainingState) -> Overflow:
    return "left_out" if state.scaler.is_enabled() else "counted"


def make_inputs(batch: Batch, config: RunConfig, device: torch.device) -> Inputs:
    """Noise, timesteps and the small picture for a batch, each a function of seed and position.

    Nothing here waits for a GPU: whatever goes there is copied without blocking.
    """
    seed, positions = config.run.seed, batch.positions
    x0 = to_network_range(batch.pictures.to(device, non_blocking=True))
    time = uniform_at(seed, "time", positions) if batch.time is None else batch.time
    t = timesteps_at(time, config.diffusion).to(device, non_blocking=True)
    noise = noise_at(seed, "noise", positions, x0.shape[1:]) if batch.noise is None else batch.noise
    noise = noise.to(device, non_blocking=True)
    cond = batch.conditioning(device)
    if "txt" in cond and config.model.text is not None and device.type == "cuda":
        cond["txt"] = _padded(cond["txt"], config.model.text.max_length)
        if config.run.compile != "off":  # the length changes from batch to batch: compile for any at once
            torch._dynamo.maybe_mark_dynamic(cond["txt"], 1)
    characters = None if batch.characters is None else batch.characters.to(device, non_blocking=True)
    if config.model.upsampler is not None:
        cond |= _low_res(x0, config, positions)
    return Inputs(x0, t, noise, cond, characters)


def _padded(txt: Tensor, max_length: int) -> Tensor:
    """Token ids (B, L) with L a multiple of 16, or max_length.

    Attention on a GPU wants masks of such lengths, and what is compiled would be compiled again for others.
    """
    length = min(-(-txt.shape[1] // 16) * 16, max_length)
    return nn.functional.pad(txt, (0, length - txt.shape[1]))


def _low_res(x0: Tensor, config: RunConfig, positions: list[int]) -> dict[str, Tensor]:
    """The small picture, and how much noise was put on it if the network is told (fork_spec 7.5)."""
    upsampler, conditioning = config.model.upsampler, config.diffusion.low_res_noise
    assert upsampler is not None
    seed = config.run.seed
    small = make_low_res(x0, upsampler.small_size_px, config.data.low_res, seed=seed, positions=positions)
    if upsampler.low_res_channels < small.shape[1]:
        small = small.mean(1, keepdim=True)
    if conditioning is None:
        return {"low_res": small}
    levels = (uniform_at(seed, "low_res_time", positions) * conditioning.n_levels).long()
    levels = levels.to(x0.device, non_blocking=True)
    noise = noise_at(seed, "low_res_noise", positions, small.shape[1:]).to(x0.device, non_blocking=True)
    schedule = make_schedule(conditioning.noise_schedule, conditioning.n_steps)
    return {"low_res": add_noise(small, noise, levels, schedule), "cond_timesteps": levels}


def _split(batch: Batch, microbatch: int | None) -> Iterator[Batch]:
    step = microbatch or len(batch)
    for first in range(0, len(batch), step):
        yield batch.part(slice(first, first + step))


def _without_sync(forward: Callable[..., Tensor], last: bool) -> AbstractContextManager[None]:
    """Gradients travel between ranks once a step, with the last part."""
    if isinstance(forward, nn.Module) and is_sharded(forward):
        sync_gradients(forward, last)
    if last or not isinstance(forward, nn.parallel.DistributedDataParallel):
        return nullcontext()
    return forward.no_sync()


def autocast(config: RunConfig, device: torch.device) -> AbstractContextManager[None]:
    """The arithmetic of forward and backward passes, as optim.precision says."""
    # On a CPU without AVX512-BF16 or AMX, bf16 is fifty times slower than fp32 (measured).
    if config.optim.precision == "fp32" or device.type == "cpu":
        return nullcontext()
    dtype = torch.bfloat16 if config.optim.precision == "bf16" else torch.float16
    return torch.autocast(device.type, dtype=dtype)
