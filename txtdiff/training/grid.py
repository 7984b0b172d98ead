"""A grid of pictures made from the averaged weights, from the same texts and noise every time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.func import functional_call

from datatools.atomic import write_bytes_atomic
from txtdiff.cascade import to_uint8
from txtdiff.config import RunConfig
from txtdiff.data.batch import collate, conditions_of, to_network_range
from txtdiff.data.config import DataConfig
from txtdiff.data.low_res import as_channels, shrink
from txtdiff.data.pictures import open_pictures
from txtdiff.data.source import Rows
from txtdiff.diffusion.denoiser import network_denoiser
from txtdiff.diffusion.noise import START, picture_noise
from txtdiff.diffusion.samplers import sample_ddim
from txtdiff.diffusion.schedule import make_schedule
from txtdiff.diffusion.steps import trailing_steps
from txtdiff.diffusion.thresholding import thresholded

__all__ = ["Grid", "draw_grid", "prepare_grid", "tiled"]

_BATCH = 16

Grid = dict[str, Tensor]
"""Conditioning of the grid's pictures, as keyword arguments of the network."""


def prepare_grid(rows: Rows | None, config: RunConfig, device: torch.device) -> Grid:
    """The conditioning of the first pictures of the run, uncropped and with nothing withheld."""
    model = config.model
    data = config.data
    plain = DataConfig(synth=data.synth, square=data.square, drop_capt=0, drop_all=0, drop_class=0)
    dataset = open_pictures(rows, plain, model, config.run.seed)
    batch = collate([dataset[position] for position in range(config.run.grid_pictures)], conditions_of(model))
    grid = batch.conditioning("cpu")
    if model.upsampler is not None:
        small = shrink(to_network_range(batch.pictures), model.upsampler.small_size_px, config.data.low_res)
        grid["low_res"] = as_channels(small, model)
    if model.upsampler is not None and model.upsampler.noise_conditioning:
        grid["cond_timesteps"] = torch.zeros(len(batch), dtype=torch.int64)
    return {name: value.to(device) for name, value in grid.items()}


def draw_grid(
    grid: Grid, network: nn.Module, averaged: Mapping[str, Tensor], config: RunConfig, path: Path
) -> None:
    """Sample the grid's pictures with DDIM from an average, and save them as one PNG.

    Args:
        grid: from `prepare_grid`.
        network: whole, not sharded.
        averaged: weights that take the place of the network's own.
        config: the run's settings.
        path: the file.
    """
    averaged = dict(averaged)

    def averaged_network(*args: Any, **kwargs: Any) -> Tensor:
        out: Tensor = functional_call(network, averaged, args, kwargs)
        return out

    n, training = config.run.grid_pictures, network.training
    device = next(iter(averaged.values())).device
    network.eval()
    try:
        # A compiled network would be compiled anew for this.
        with torch.compiler.set_stance("force_eager"):
            parts = [
                _sample(grid, range(first, min(first + _BATCH, n)), averaged_network, config, device)
                for first in range(0, n, _BATCH)
            ]
    finally:
        network.train(training)
    buffer = BytesIO()
    tiled(to_uint8(torch.cat(parts))).save(buffer, "PNG")
    write_bytes_atomic(path, buffer.getvalue())


def tiled(pictures: NDArray[np.uint8]) -> Image.Image:
    """(N, H, W, 3) pictures side by side in about as many rows as columns."""
    n, height, width, _ = pictures.shape
    n_columns = math.ceil(math.sqrt(n))
    sheet = Image.new("RGB", (n_columns * width, math.ceil(n / n_columns) * height), "white")
    for i, picture in enumerate(pictures):
        sheet.paste(Image.fromarray(picture), (i % n_columns * width, i // n_columns * height))
    return sheet


def _sample(
    grid: Grid, which: range, network: Callable[..., Tensor], config: RunConfig, device: torch.device
) -> Tensor:
    model, diffusion = config.model, config.diffusion
    cond = {name: value[which.start : which.stop] for name, value in grid.items()}
    schedule = make_schedule(diffusion.noise_schedule, diffusion.n_steps)
    shape = (model.image_channels, model.image_size_px, model.image_size_px)
    noise = picture_noise(which, shape, stage=0, purpose=START, device=device)
    denoiser = thresholded(network_denoiser(network, diffusion, cond), schedule)
    n_steps = min(config.run.grid_steps, diffusion.n_steps)
    return sample_ddim(denoiser, noise(), schedule, trailing_steps(diffusion.n_steps, n_steps))
