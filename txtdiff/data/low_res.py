"""The small picture an upsampler starts from, made from the picture it should produce (fork_spec 3.4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from txtdiff.data.config import LowResConfig
from txtdiff.data.order import numpy_generator
from txtdiff.model.config import ModelConfig

__all__ = ["as_channels", "blur", "make_low_res", "shrink"]

_ITU_601 = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey, as Pillow has them."""


def make_low_res(
    pictures: Tensor, small_px: int, config: LowResConfig, *, seed: int, positions: Sequence[int]
) -> Tensor:
    """Shrink (B, C, H, W) in [-1, 1] to (B, C, small_px, small_px), some of them blurred.

    Not clamped: bicubic overshoots a little, as the fork's inputs did.
    """
    small = shrink(pictures, small_px, config)
    if not config.blur_probability:
        return small
    span = config.blur_sigma_max_px - config.blur_sigma_min_px
    blurred = []
    for picture, position in zip(small, positions, strict=True):
        chance, where = numpy_generator(seed, "low_res", position).random(2)
        sigma = config.blur_sigma_min_px + float(where) * span
        blurred.append(
            blur(picture, sigma, config.blur_kernel_px) if chance < config.blur_probability else picture
        )
    return torch.stack(blurred)


def shrink(pictures: Tensor, small_px: int, config: LowResConfig) -> Tensor:
    """Make (B, C, H, W) small with the configured filter."""
    mode = config.filter.removeprefix("antialiased_")
    if mode == "area":
        return F.interpolate(pictures, (small_px, small_px), mode="area")
    antialias = config.filter.startswith("antialiased_")
    return F.interpolate(pictures, (small_px, small_px), mode=mode, align_corners=False, antialias=antialias)


def as_channels(small: Tensor, model: ModelConfig) -> Tensor:
    """Small pictures (B, C, h, w) in as many channels as an upsampler takes, made grey as in its training.

    A colouriser is shown the mean of the colours it should find. An upsampler of grey pictures is shown
    smaller ones of those, which `txtdiff.data.batch` made grey with other weights.
    """
    assert model.upsampler is not None
    if model.upsampler.low_res_channels >= small.shape[1]:
        return small
    if model.image_channels == 1:
        return (small * small.new_tensor(_ITU_601).view(3, 1, 1)).sum(1, keepdim=True)
    return small.mean(1, keepdim=True)


def blur(picture: Tensor, sigma_px: float, kernel_px: int) -> Tensor:
    """Gaussian blur of (C, H, W), edges mirrored, as torchvision's GaussianBlur."""
    offsets = torch.arange(kernel_px, dtype=picture.dtype, device=picture.device) - (kernel_px - 1) / 2
    weights = torch.exp(-0.5 * (offsets / sigma_px) ** 2)
    weights = weights / weights.sum()
    pad = kernel_px // 2
    padded = F.pad(picture[:, None], (pad, pad, pad, pad), mode="reflect")
    rows = F.conv2d(padded, weights.view(1, 1, 1, -1))
    return F.conv2d(rows, weights.view(1, 1, -1, 1))[:, 0]
