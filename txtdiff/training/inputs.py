"""What a training step computes with: noise, timesteps and small pictures, put on the device with a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from txtdiff.config import RunConfig
from txtdiff.data.batch import Batch, to_network_range
from txtdiff.data.low_res import as_channels, make_low_res
from txtdiff.data.order import noise_at, uniform_at
from txtdiff.diffusion.losses import add_noise, timesteps_at
from txtdiff.diffusion.schedule import make_schedule

__all__ = ["Inputs", "make_inputs"]


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

    def tensors(self) -> list[Tensor]:
        """All of them, in an order that depends on which there are."""
        others = [] if self.characters is None else [self.characters]
        return [self.x0, self.t, self.noise, *(self.cond[name] for name in sorted(self.cond)), *others]

    def copy(self) -> Inputs:
        """The same values in memory of their own."""
        cond = {name: tensor.clone() for name, tensor in self.cond.items()}
        characters = None if self.characters is None else self.characters.clone()
        return Inputs(self.x0.clone(), self.t.clone(), self.noise.clone(), cond, characters)


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
        if config.run.compile in (
            "model",
            "blocks",
        ):  # the length changes from batch to batch: compile for any at once
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
    small = as_channels(small, config.model)
    if conditioning is None:
        return {"low_res": small}
    levels = (uniform_at(seed, "low_res_time", positions) * conditioning.n_levels).long()
    levels = levels.to(x0.device, non_blocking=True)
    noise = noise_at(seed, "low_res_noise", positions, small.shape[1:]).to(x0.device, non_blocking=True)
    schedule = make_schedule(conditioning.noise_schedule, conditioning.n_steps)
    return {"low_res": add_noise(small, noise, levels, schedule), "cond_timesteps": levels}
