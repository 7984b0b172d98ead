"""How well a model compresses the pictures of a catalog, in bits per dimension."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from datatools.console import progress
from datatools.errors import InputError
from txtdiff.config import RunConfig
from txtdiff.data.batch import Batch, collate, conditions_of, to_network_range
from txtdiff.data.config import DataConfig
from txtdiff.data.dataset import PictureDataset
from txtdiff.data.source import Rows, read_rows
from txtdiff.diffusion.denoiser import network_denoiser
from txtdiff.diffusion.nll import bits_per_dimension
from txtdiff.diffusion.noise import STEPS, picture_noise
from txtdiff.diffusion.schedule import make_schedule
from txtdiff.diffusion.steps import parse_spacing
from txtdiff.diffusion.thresholding import thresholded
from txtdiff.model.unet import UNet
from txtdiff.training.weights import load_network

__all__ = ["Likelihood", "measure_likelihood"]

_BATCH = 8


@dataclass(frozen=True, slots=True)
class Likelihood:
    """A mean over pictures of an upper bound, with its standard error."""

    bits: float
    standard_error: float
    n: int
    """Pictures measured."""
    n_steps: int
    failures: Mapping[str, int]
    """Pictures of those asked for that could not be read, counted by cause; they are not among the n."""


def measure_likelihood(model: Path, catalog: Path, n: int, n_steps: int | None, device: str) -> Likelihood:
    """Bits per dimension of a base model's averaged weights on the first n pictures of a fixed shuffle.

    Those that cannot be read are left out, so that each picture counts once.

    Args:
        model: a run or a checkpoint.
        catalog: pictures, told with their texts and captions; uncropped.
        n: how many pictures.
        n_steps: timesteps of a coarser process, whose bound is looser; None: all that training had.
        device: "cpu", "cuda" or "cuda:<number>".

    Raises:
        InputError: n is 0 or less, an upsampler, or no pictures that can be read.
    """
    if n < 1:
        raise InputError(f"--n {n}: no pictures are asked for", "Give 1 or more.")
    network, config = load_network(model)
    if config.model.upsampler is not None:
        raise InputError(f"{model} is an upsampler", "Bits per dimension are measured for base models.")
    spacing = config.diffusion.n_steps if n_steps is None else n_steps
    kept = None if n_steps is None else parse_spacing(config.diffusion.n_steps, str(n_steps))
    rows, dataset = _pictures(catalog, config)
    n = min(n, len(rows))
    bits: list[float] = []
    failures: Counter[str] = Counter()
    with progress("measuring", n * spacing) as advance:
        for first in range(0, n, _BATCH):
            drawn = [dataset[position] for position in range(first, min(first + _BATCH, n))]
            # What stands in for a picture that cannot be read is measured at a position of its own.
            samples = [sample for sample in drawn if not sample.failures]
            failures.update(sample.failures[0][1] for sample in drawn if sample.failures)
            advance((len(drawn) - len(samples)) * spacing)
            if samples:
                batch = collate(samples, conditions_of(config.model))
                bits += _bits(network.to(device), config, batch, kept, partial(advance, len(batch)))
    if not bits:
        raise InputError(
            f"{catalog}: none of {n} pictures can be read", "Build it again, or give a larger --n."
        )
    mean = sum(bits) / len(bits)
    variance = sum((value - mean) ** 2 for value in bits) / max(len(bits) - 1, 1)
    return Likelihood(mean, math.sqrt(variance / len(bits)), len(bits), spacing, failures)


def _pictures(catalog: Path, config: RunConfig) -> tuple[Rows, PictureDataset]:
    """All pictures of a catalog, uncropped and with nothing withheld."""
    model = config.model
    names = ("class_name", "class_map", "class_unknown")
    told = {name: getattr(config.data, name) for name in names}
    data = DataConfig(
        catalog=catalog, square=config.data.square, drop_capt=0, drop_all=0, drop_class=0, **told
    )
    rows = read_rows(data, "unused" if model.text is None else "needed", model.n_classes)
    uses_text = model.text is not None
    return rows, PictureDataset(
        rows,
        data,
        resolution_px=model.image_size_px,
        seed=0,
        uses_text=uses_text,
        n_classes=model.n_classes,
    )


def _bits(
    network: UNet,
    config: RunConfig,
    batch: Batch,
    kept: Sequence[int] | None,
    on_step: Callable[[], None],
) -> list[float]:
    device = next(network.parameters()).device
    x0 = to_network_range(batch.pictures).to(device)
    cond = batch.conditioning(device)
    schedule = make_schedule(config.diffusion.noise_schedule, config.diffusion.n_steps)
    denoiser = thresholded(network_denoiser(network, config.diffusion, cond), schedule)
    channels, height, width = x0.shape[1:]
    noise = picture_noise(batch.positions, (channels, height, width), stage=0, purpose=STEPS, device=device)
    bound = bits_per_dimension(denoiser, x0, schedule, noise, kept=kept, on_step=on_step)
    return [float(value) for value in bound.total]
