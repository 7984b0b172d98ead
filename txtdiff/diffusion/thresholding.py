"""Keeping the predicted picture inside the range of pixels, as a wrapper of a Denoiser."""

from __future__ import annotations

from torch import Tensor

from txtdiff.diffusion.denoiser import Denoiser, Prediction, eps_from_x0
from txtdiff.diffusion.schedule import Schedule

__all__ = ["clamp_x0", "dynamic_threshold", "thresholded"]


def clamp_x0(x0: Tensor) -> Tensor:
    """The picture cut off at the range of pixels, -1…1."""
    return x0.clamp(-1, 1)


def dynamic_threshold(x0: Tensor, quantile: float) -> Tensor:
    """Each picture divided by that quantile of its |pixels| where it exceeds 1 (Saharia et al. 2022, 2.3).

    Args:
        x0: (B, C, H, W).
        quantile: between 0 and 1; 0.995 in the paper.
    """
    limit = x0.abs().flatten(1).quantile(quantile, dim=1).clamp(min=1).view(-1, 1, 1, 1)
    return x0.clamp(-limit, limit) / limit


def thresholded(denoiser: Denoiser, schedule: Schedule, quantile: float | None = None) -> Denoiser:
    """A Denoiser whose x0 stays in the range of pixels, and whose eps is what then goes with it.

    Args:
        denoiser: the one to wrap.
        schedule: its schedule.
        quantile: of dynamic thresholding; None: the static clamp.
    """

    def denoise(x: Tensor, t: int) -> Prediction:
        prediction = denoiser(x, t)
        x0 = clamp_x0(prediction.x0) if quantile is None else dynamic_threshold(prediction.x0, quantile)
        return Prediction(x0, eps_from_x0(x, x0, schedule, t), prediction.variance_mix)

    return denoise
