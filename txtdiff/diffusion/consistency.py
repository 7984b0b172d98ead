"""An upsampler's prediction held to the small picture it enlarges, as a wrapper of a Denoiser."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from txtdiff.diffusion.denoiser import Denoiser, Prediction, eps_from_x0
from txtdiff.diffusion.schedule import Schedule

__all__ = ["consistent"]


def consistent(
    denoiser: Denoiser, schedule: Schedule, small: Tensor, shrink: Callable[[Tensor], Tensor], amount: float
) -> Denoiser:
    """A Denoiser whose x0, made small again, is nearer to the small picture than the network's.

    What is missing is enlarged and added (back-projection, Irani and Peleg 1991; in diffusion sampling DDNM,
    Wang et al. 2023, equation 13, with an enlargement that undoes the shrinking nearly, not exactly): strokes
    that the network took for grain, or grain for strokes, go back to what they were.

    Args:
        denoiser: the one to wrap.
        schedule: its schedule.
        small: (B, c, h, w) in -1…1, without added noise; where either is grey, the mean of colours is held.
        shrink: (B, C, H, W) -> (B, C, h, w), as in training.
        amount: of the difference that is made up: 0 = nothing, 1 = nearly all.
    """

    def denoise(x: Tensor, t: int) -> Prediction:
        prediction = denoiser(x, t)
        wanted, made = small, shrink(prediction.x0)
        if wanted.shape[1] != made.shape[1]:
            wanted, made = wanted.mean(1, keepdim=True), made.mean(1, keepdim=True)
        missing = F.interpolate(wanted - made, x.shape[-2:], mode="bicubic", align_corners=False)
        x0 = prediction.x0 + amount * missing
        return Prediction(x0, eps_from_x0(x, x0, schedule, t), prediction.variance_mix)

    return denoise
