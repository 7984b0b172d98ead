"""How well a run uses its machine: operations of a training step against what the machine multiplies."""

from __future__ import annotations

import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from txtdiff.config import RunConfig
from txtdiff.model.config import ModelConfig
from txtdiff.model.unet import build_network

__all__ = ["flops_per_picture", "matmul_flops_per_s", "training_dtype"]

_TEXT_LENGTH = 32
"""Length of text that is counted with. Texts differ from batch to batch, and their share is small."""


def flops_per_picture(config: ModelConfig) -> int:
    """Floating-point operations of forward and backward for one picture: matrix products and convolutions.

    Counted from shapes alone, on a network without storage. What is computed a second time to save memory
    is useful only once, so it is left out (Chowdhery et al. 2022, appendix B).
    """
    config = config.model_copy(update={"recompute_resolutions_px": ()})
    with torch.device("meta"):
        network = build_network(config)
        given = {}
        if config.text is not None:
            given["txt"] = torch.ones(1, min(_TEXT_LENGTH, config.text.max_length), dtype=torch.long)
        if config.captions is not None:
            given["capt"] = torch.ones(1, 77, dtype=torch.long)
        if config.n_classes is not None:
            given["y"] = torch.zeros(1, dtype=torch.long)
        if config.upsampler is not None:
            size = config.upsampler.small_size_px
            given["low_res"] = torch.zeros(1, config.upsampler.low_res_channels, size, size)
            if config.upsampler.noise_conditioning:
                given["cond_timesteps"] = torch.zeros(1)
        x = torch.zeros(1, config.image_channels, config.image_size_px, config.image_size_px)
        with FlopCounterMode(display=False) as counter:
            network(x, torch.zeros(1), **given).sum().backward()
    return int(counter.get_total_flops())


def training_dtype(config: RunConfig, device: torch.device) -> torch.dtype:
    """The type in which forward and backward multiply."""
    if device.type == "cpu":
        return torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[config.optim.precision]


def matmul_flops_per_s(device: torch.device, dtype: torch.dtype) -> float:
    """What the device does in a large matrix product, best of five, with the threads that training has."""
    n = 1024 if device.type == "cpu" else 8192
    # Random numbers: a GPU multiplies ones at a higher clock than it holds while training.
    generator = torch.Generator(device).manual_seed(0)
    a = torch.randn(n, n, device=device, dtype=dtype, generator=generator)
    best = float("inf")
    for _ in range(6):
        start = time.perf_counter()
        a @ a
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best
