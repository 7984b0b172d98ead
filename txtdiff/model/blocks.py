"""Residual blocks, and what changes the resolution of a feature map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from txtdiff.model.attention import group_norm, modulated_group_norm
from txtdiff.model.context import Context

__all__ = ["BlockOptions", "Downsample", "ResBlock", "Upsample", "convolve", "zeroed"]

MAX_PLACES_AS_MATRIX = 256


@dataclass(frozen=True, slots=True)
class BlockOptions:
    """What all residual blocks of a network have in common (see `ModelConfig`)."""

    embedding: int
    timestep: Literal["scale_shift", "add"]
    norm_groups: Literal["by_width", "second_norm_32"]
    dropout: float


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with all weights set to zero."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def halve(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, H/2, W/2), the mean of each square."""
    return F.avg_pool2d(x, 2)


def double(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, 2H, 2W), each value repeated."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """conv(x) of a 3x3 convolution; for few places on a CPU, when nothing is learned, as a matrix product.

    oneDNN lays the weights out anew in every call, which for few places takes longer than the sums do:
    2 to 5 times at 1024 channels and 4 to 8 px, nothing gained from 512 places on (measured).
    """
    height, width = x.shape[2:]
    if x.device.type != "cpu" or torch.is_grad_enabled() or len(x) * height * width > MAX_PLACES_AS_MATRIX:
        return conv(x)  # type: ignore[no-any-return]
    columns = F.unfold(x, 3, padding=1).transpose(0, 1).flatten(1)  # (9 C, B * H * W)
    h = conv.weight.flatten(1) @ columns
    if conv.bias is not None:
        h = h + conv.bias[:, None]
    return h.view(-1, len(x), height, width).transpose(0, 1)


class ResBlock(nn.Module):
    """Norm, SiLU, conv; norm with the embedding, SiLU, conv; plus the input (ADM, Dhariwal & Nichol 2021).

    Args:
        in_channels, out_channels: widths.
        options: what the network's blocks share.
        resample: halve or double the resolution, between the first SiLU and its conv.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        options: BlockOptions,
        resample: Literal["down", "up"] | None = None,
    ) -> None:
        super().__init__()
        self.resample = {"down": halve, "up": double, None: None}[resample]
        self.scales = options.timestep == "scale_shift"
        self.norm_in = group_norm(in_channels)
        self.conv_in = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.modulation = nn.Linear(options.embedding, (2 if self.scales else 1) * out_channels)
        fixed_groups = self.scales and options.norm_groups == "second_norm_32"
        self.norm_out = group_norm(out_channels, groups=32 if fixed_groups else None)
        self.dropout = nn.Dropout(options.dropout)
        # Zero: every block starts as (a resampling of) the identity.
        self.conv_out = zeroed(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.skip = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Feature map (B, in, H, W) -> (B, out, H', W')."""
        h = F.silu(self.norm_in(x))
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        # Before any conditioning there are fewer rows than the context has; the first ones say it all.
        h = self._modulated(convolve(self.conv_in, h), self.modulation(context.embedding[: len(x)]))
        return self.skip(x) + convolve(self.conv_out, self.dropout(F.silu(h)))  # type: ignore[no-any-return]

    def _modulated(self, h: Tensor, modulation: Tensor) -> Tensor:
        if not self.scales:
            return self.norm_out(h + modulation[:, :, None, None])  # type: ignore[no-any-return]
        return modulated_group_norm(self.norm_out, h, *modulation.chunk(2, dim=1))


class Downsample(nn.Module):
    """Half the resolution, by a strided convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return self.conv(x)  # type: ignore[no-any-return]


class Upsample(nn.Module):
    """Twice the resolution, each value repeated and then convolved."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return self.conv(double(x))  # type: ignore[no-any-return]
