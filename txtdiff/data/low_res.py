"""The small picture an upsampler starts from, made from the picture it should produce (fork_spec 3.4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from txtdiff.data.config import LowResConfig
from txtdiff.data.order import numpy_generator

__all__ = ["blur", "make_low_res", "shrink"]


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


def blur(picture: Tensor, sigma_px: float, kernel_px: int) -> Tensor:
    """Gaussian blur of (C, H, W), edges mirrored, as torchvision's GaussianBlur."""
    offsets = torch.arange(kernel_px, dtype=picture.dtype, device=picture.device) - (kernel_px - 1) / 2
    weights = torch.exp(-0.5 * (offsets / sigma_px) ** 2)
    weights = weights / weights.sum()
    pad = kernel_px // 2
    padded = F.pad(picture[:, None], (pad, pad, pad, pad), mode="reflect")
    rows = F.conv2d(padded, weights.view(1, 1, 1, -1))
    return F.conv2d(rows, weights.view(1, 1, -1, 1))[:, 0]
