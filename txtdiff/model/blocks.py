"""Residual blocks, and what changes the resolution of a feature map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from txtdiff.model.attention import group_norm, modulated_group_norm
from txtdiff.model.context import Context, with_rows

__all__ = [
    "BlockOptions",
    "Downsample",
    "ResBlock",
    "Upsample",
    "convolve",
    "convolve_doubled",
    "double",
    "zeroed",
]

MAX_PLACES_AS_MATRIX = 256
MIN_PLACES_BY_PHASE = 512
MIN_SHARED_PLACES = 1024
"""Fewer gain less than it costs to cut the weights in two."""


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


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 3x3 convolution; for few places on a CPU, when nothing is learned, as a matrix product.

    oneDNN lays the weights out anew in every call, which for few places takes longer than the sums do:
    2 to 5 times at 1024 channels and 4 to 8 px, nothing gained from 512 places on (measured).
    """
    height, width = x.shape[2:]
    if x.device.type != "cpu" or torch.is_grad_enabled() or len(x) * height * width > MAX_PLACES_AS_MATRIX:
        return F.conv2d(x, weight, bias, padding=1)
    columns = F.unfold(x, 3, padding=1).transpose(0, 1).flatten(1)  # (9 C, B * H * W)
    h = weight.flatten(1) @ columns
    if bias is not None:
        h = h + bias[:, None]
    return h.view(-1, len(x), height, width).transpose(0, 1)


def convolve_doubled(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 3x3 convolution of `double(x)`; for many places on a CPU without doubling.

    A window of three rows sees two rows of the small map, so each of the four places that a place becomes is
    a 2x2 convolution of it, with sums of the weights: 4 products in place of 9. Summing the weights is what
    few places are not worth.
    """
    height, width = x.shape[2:]
    if x.device.type != "cpu" or len(x) * height * width < MIN_PLACES_BY_PHASE:
        return convolve(double(x), weight, bias)
    even_rows, odd_rows = _halves(weight, 2)
    # Odd before even: then what stands side by side after the shuffle is the doubled map and a rim of one.
    kernels = [half for rows in (odd_rows, even_rows) for half in reversed(_halves(rows, 3))]
    biases = None if bias is None else bias.repeat_interleave(4)
    phases = F.conv2d(x, torch.stack(kernels, 1).flatten(0, 1), biases, padding=1)  # (B, 4 out, H + 1, W + 1)
    return F.pixel_shuffle(phases, 2)[:, :, 1:-1, 1:-1]


def _halves(weight: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Three taps along `dim` as the two that see a doubled map from its even and from its odd places."""
    first, middle, last = torch.chunk(weight, 3, dim)
    return torch.cat([first, middle + last], dim), torch.cat([first + middle, last], dim)


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

    def forward(self, x: Tensor, context: Context, skip: Tensor | None = None) -> Tensor:
        """Feature map (B, in, H, W), or its channels in x and then in `skip`, -> (B, out, H', W').

        The rows of x may be several conditionings of each row of `skip`.
        """
        h, x = self._first_half(x) if skip is None else self._joined(x, skip)
        # Before any conditioning there are fewer rows than the context has; the first ones say it all.
        h = self._modulated(h, self.modulation(context.embedding[: len(x)]))
        return x + convolve(self.dropout(F.silu(h)), self.conv_out.weight, self.conv_out.bias)

    def _first_half(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the embedding is to modulate, and what is added in the end."""
        h = F.silu(self.norm_in(x))
        weight, bias = self.conv_in.weight, self.conv_in.bias
        if self.resample is double:
            return convolve_doubled(h, weight, bias), self.skip(double(x))
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        return convolve(h, weight, bias), self.skip(x)

    def _joined(self, x: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        """The same of x and `skip` side by side; what fewer rows of `skip` give is computed for them alone.

        A convolution of both is the sum of their convolutions. A group of the norm that lies across the seam
        makes its channels of `skip` differ from row to row of x: they go with x.
        """
        group = self.norm_in.num_channels // self.norm_in.num_groups
        n_across = -x.shape[1] % group
        n_places = len(skip) * x.shape[2] * x.shape[3]
        shares = len(skip) < len(x) and n_places >= MIN_SHARED_PLACES and n_across < skip.shape[1]
        if not shares or not isinstance(self.skip, nn.Conv2d):
            return self._first_half(torch.cat([x, with_rows(skip, len(x))], dim=1))
        x = torch.cat([x, with_rows(skip[:, :n_across], len(x))], dim=1)
        h, kept = self._columns(x, slice(x.shape[1]))
        h_of_skip, kept_of_skip = self._columns(skip[:, n_across:], slice(x.shape[1], None))
        return h + with_rows(h_of_skip, len(h)), kept + with_rows(kept_of_skip, len(h))

    def _columns(self, x: Tensor, which: slice) -> tuple[Tensor, Tensor]:
        """What some of the input's channels contribute to the first half; biases come with the first."""
        norm, conv, skip = self.norm_in, self.conv_in, self.skip
        assert isinstance(skip, nn.Conv2d)
        n_groups = x.shape[1] * norm.num_groups // norm.num_channels
        h = F.silu(F.group_norm(x, n_groups, norm.weight[which], norm.bias[which], norm.eps))
        conv_bias, skip_bias = (None, None) if which.start else (conv.bias, skip.bias)
        kept = F.conv2d(x, skip.weight[:, which], skip_bias)
        return convolve(h, conv.weight[:, which], conv_bias), kept

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
        return convolve_doubled(x, self.conv.weight, self.conv.bias)
