"""One optimiser step: a batch of pictures in, changed weights and averages out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from txtdiff.config import RunConfig
from txtdiff.data.batch import Batch
from txtdiff.data.order import seed_at
from txtdiff.diffusion.config import DiffusionConfig
from txtdiff.diffusion.losses import LossTerms, training_losses
from txtdiff.diffusion.naming import losses_with_names
from txtdiff.training.averaging import update_averages
from txtdiff.training.distributed import Ranks
from txtdiff.training.graph import Recorder
from txtdiff.training.inputs import Inputs, make_inputs
from txtdiff.training.metrics import Overflow, add_grad_norm, add_losses
from txtdiff.training.optimizer import rate_factor, set_rates
from txtdiff.training.sharding import average_whole_gradients, clip_sharded, is_sharded, sync_gradients
from txtdiff.training.state import TrainingState

__all__ = ["autocast", "picture_losses", "train_step"]


def train_step(
    state: TrainingState,
    batch: Batch,
    forward: Callable[..., Tensor],
    ranks: Ranks,
    device: torch.device,
    recorder: Recorder | None = None,
) -> None:
    """Train on one rank's share of a batch.

    Args:
        state: changed in place; `state.images` counts the pictures of all ranks.
        batch: this rank's pictures.
        forward: the network, perhaps compiled or wrapped for several ranks.
        recorder: replays the pass through the network, once it was recorded.
    """
    config = state.config
    set_rates(state.optimizer, rate_factor(state.images, config.data.batch_size, config.optim))
    parts = list(_split(batch, config.optim.microbatch))
    for i, part in enumerate(parts):
        with _without_sync(forward, last=i == len(parts) - 1):
            _backward(state, part, len(batch), forward, device, recorder)
    _update_weights(state)
    state.images += len(batch) * ranks.n
    state.failures.update(cause for _, cause in batch.failures)


def _backward(
    state: TrainingState,
    part: Batch,
    n_local: int,
    forward: Callable[..., Tensor],
    device: torch.device,
    recorder: Recorder | None,
) -> None:
    config = state.config

    def one_pass(inputs: Inputs) -> LossTerms:
        with autocast(config, device):
            terms = picture_losses(forward, inputs, config.diffusion)
        # The mean over the batch, whatever the number of parts; ranks are averaged by their wrapper.
        loss: Tensor = state.scaler.scale(terms.loss.sum() / n_local)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own stub lacks it
        return LossTerms(*(None if term is None else term.detach() for term in terms))  # type: ignore[arg-type]

    inputs = make_inputs(part, config, device)
    # Dropout is the only other chance in a step; it too must not depend on what was drawn before.
    torch.manual_seed(seed_at(config.run.seed, "network", part.positions[0]))
    terms = one_pass(inputs) if recorder is None else recorder(inputs, one_pass)
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
