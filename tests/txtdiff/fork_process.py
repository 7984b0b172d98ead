"""The analytic network of the parent project's sampler and loss values (fork_spec 7.9), and those values."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from txtdiff.diffusion.config import DiffusionConfig
from txtdiff.diffusion.denoiser import Denoiser, network_denoiser
from txtdiff.diffusion.schedule import make_schedule
from txtdiff.diffusion.thresholding import thresholded

VALUES: dict[str, Tensor] = load_file(Path(__file__).parent / "parity" / "diffusion.safetensors")
CONFIG = DiffusionConfig()
SCHEDULE = make_schedule("cosine", 1000)


def analytic_network(x: Tensor, timesteps: Tensor, c: float = 0.0) -> Tensor:
    """eps and the variance channels as formulas of x and t; c stands for conditioning."""
    t = timesteps.view(-1, 1, 1, 1).float()
    eps = 0.9 * x + 0.3 * torch.sin(3 * x + t / 200 + c)
    return torch.cat([eps, 0.3 * torch.cos(2 * x - t / 300 + c)], dim=1)


def analytic_denoiser(c: float = 0.0, config: DiffusionConfig = CONFIG) -> Denoiser:
    """The network as a Denoiser, neither clamped nor guided."""
    return network_denoiser(analytic_network, config, {"c": c})


def clamped(denoiser: Denoiser) -> Denoiser:
    return thresholded(denoiser, SCHEDULE)
