"""The first batch as files, to see with one's own eyes what the network is shown (fork_spec 3.5)."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from torch import Tensor

from datatools.atomic import write_text_atomic
from txtdiff.cascade import to_uint8
from txtdiff.config import RunConfig
from txtdiff.data.batch import Batch, to_network_range
from txtdiff.data.low_res import as_channels, make_low_res

__all__ = ["dump_batch"]


def dump_batch(batch: Batch, config: RunConfig, folder: Path) -> None:
    """Write 0000.png, 0000.txt, 0000_capt.txt and, for an upsampler, 0000_lowres.png, and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = to_network_range(batch.pictures)
    _save_pictures(pictures, folder, "")
    upsampler = config.model.upsampler
    if upsampler is not None:
        small = make_low_res(
            pictures,
            upsampler.small_size_px,
            config.data.low_res,
            seed=config.run.seed,
            positions=batch.positions,
        )
        _save_pictures(as_channels(small, config.model), folder, "_lowres")
    for i in range(len(batch)):
        if batch.txt is not None:
            write_text_atomic(folder / f"{i:04}.txt", batch.texts[i])
        if batch.capt is not None:
            write_text_atomic(folder / f"{i:04}_capt.txt", batch.captions[i])


def _save_pictures(pictures: Tensor, folder: Path, suffix: str) -> None:
    """Write (B, C, H, W) pictures in [-1, 1]."""
    for i, pixels in enumerate(to_uint8(pictures)):
        Image.fromarray(pixels).save(folder / f"{i:04}{suffix}.png")
