"""Noise that belongs to a picture: a function of its seed, its stage and its purpose, never of the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["NoiseSource", "Purpose", "picture_noise"]

NoiseSource = Callable[[], Tensor]
"""Each call gives the next standard normal noise, (B, C, H, W)."""

Purpose = int
START, STEPS, LOW_RES = range(3)
"""Separate streams, so that a sampler that draws more step noise starts from the same noise as any other."""


def picture_noise(
    seeds: Sequence[int], shape: tuple[int, int, int], *, stage: int, purpose: Purpose, device: torch.device
) -> NoiseSource:
    """A source that gives each picture of a batch its own stream of noise.

    Drawn on the CPU, so that every device and every batch size starts from the same bits.

    Args:
        seeds: one per picture, from 0.
        shape: (C, H, W) of one picture.
        stage: position in the cascade; stages are independent.
        purpose: START, STEPS or LOW_RES.
        device: where the noise goes.
    """
    generators = [_generator(seed, stage, purpose) for seed in seeds]

    def draw() -> Tensor:
        return torch.stack([torch.randn(shape, generator=generator) for generator in generators]).to(device)

    return draw


def _generator(seed: int, stage: int, purpose: Purpose) -> torch.Generator:
    # SeedSequence mixes the three numbers: neighbouring seeds and stages get unrelated streams.
    state = np.random.SeedSequence([seed, stage, purpose]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state))
