"""Losses and samplers together: what a small network learns is what comes out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from txtdiff.diffusion.config import DiffusionConfig
from txtdiff.diffusion.denoiser import network_denoiser
from txtdiff.diffusion.losses import sample_timesteps, training_losses
from txtdiff.diffusion.noise import START, STEPS, picture_noise
from txtdiff.diffusion.schedule import make_schedule
from txtdiff.diffusion.thresholding import thresholded
from txtdiff.sampler_settings import SamplerSettings, run_sampler

MODES = torch.tensor([[-0.8, 0.5, -0.2, 0.3], [0.6, -0.4, 0.7, -0.6]])
N_STEPS = 1500


class SmallNetwork(nn.Module):
    """Pictures of 2x2 pixels through a perceptron that knows the timestep."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        width = 128
        self.layers = nn.Sequential(
            nn.Linear(4 + 16, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, n_outputs),
        )

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        waves = torch.outer(timesteps.float() / 1000, 2.0 ** torch.arange(8)) * torch.pi / 4
        h = self.layers(torch.cat([x.flatten(1), waves.sin(), waves.cos()], dim=1))
        out: Tensor = h.view(len(x), -1, 2, 2)
        return out


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"parameterisation": "x0", "variance": "fixed_small", "min_snr_gamma": 5.0},
    ],
    ids=["hybrid eps", "min-snr x0"],
)
def test_a_trained_network_samples_its_data(settings: dict[str, Any]) -> None:
    config = DiffusionConfig(**settings)
    torch.manual_seed(0)
    network = SmallNetwork(8 if config.variance == "learned_range" else 4)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, total_iters=N_STEPS)
    for _ in range(N_STEPS):
        x0 = MODES[torch.randint(0, 2, (128,))].view(-1, 1, 2, 2)
        loss = training_losses(
            network, x0, sample_timesteps(128, config), torch.randn_like(x0), {}, config
        ).loss
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
        decay.step()

    schedule, cpu = make_schedule(config.noise_schedule, config.n_steps), torch.device("cpu")
    denoiser = thresholded(network_denoiser(network, config, {}), schedule)
    for sampler in ("ddpm", "dpmpp_2m"):
        start = picture_noise(range(200), (1, 2, 2), stage=0, purpose=START, device=cpu)
        steps = picture_noise(range(200), (1, 2, 2), stage=0, purpose=STEPS, device=cpu)
        chosen = SamplerSettings(sampler=sampler, n_steps=25)
        sampled = run_sampler(chosen, denoiser, start(), schedule, steps).flatten(1)
        nearest, which = torch.cdist(sampled, MODES).min(1)
        assert (nearest < 0.25).float().mean() > 0.8
        assert which.float().mean().item() == pytest.approx(0.5, abs=0.2)
