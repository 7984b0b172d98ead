"""Classifier-free guidance: several predictions with more or less conditioning, combined into one.

The weights of a combination add up to 1, so combining x0, eps or v is the same thing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from txtdiff.diffusion.denoiser import Denoiser, Prediction, v_of, x0_and_eps
from txtdiff.diffusion.schedule import Schedule

__all__ = [
    "Combine",
    "Given",
    "autoguided",
    "guidance_terms",
    "guided",
    "guided_stacked",
    "rescaled",
    "weighted",
    "within",
]


Combine = Callable[[Sequence[Prediction], Tensor, int], Prediction]
"""(predictions, x_t, t) -> one prediction."""


class Given(NamedTuple):
    """Which conditioning a network evaluation is given; what is not given is replaced by its drop value."""

    txt: bool
    capt: bool


def guidance_terms(
    scale_txt: float, scale_capt: float, *, has_txt: bool, has_capt: bool
) -> dict[Given, float]:
    """Evaluations that two-weight guidance needs, and the weight of each, least conditioned first.

    e(none) + scale_capt * (e(capt) - e(none)) + scale_txt * (e(txt, capt) - e(capt)), in the manner of
    Brooks et al. 2023, equation 3. Equal scales leave out the middle
    evaluation, scales of 1 all but the last.

    Args:
        scale_txt, scale_capt: 1 = no guidance.
        has_txt, has_capt: whether the network reads a transcription, a caption at all.
    """
    # What a network does not read cannot tell two evaluations apart: such two become one, the fuller of them.
    terms: dict[Given, tuple[Given, float]] = {}
    for given, weight in (
        (Given(False, False), 1 - scale_capt),
        (Given(False, True), scale_capt - scale_txt),
        (Given(True, True), scale_txt),
    ):
        seen = Given(given.txt and has_txt, given.capt and has_capt)
        _, sum_so_far = terms.get(seen, (given, 0.0))
        terms[seen] = given, sum_so_far + weight
    return {given: weight for given, weight in terms.values() if weight != 0}


def guided(denoisers: Sequence[Denoiser], combine: Combine) -> Denoiser:
    """Several Denoisers in one, evaluated one after the other."""

    def denoise(x: Tensor, t: int) -> Prediction:
        return combine([denoiser(x, t) for denoiser in denoisers], x, t)

    return denoise


def guided_stacked(denoiser: Denoiser, n: int, combine: Combine) -> Denoiser:
    """The same from one evaluation.

    Args:
        denoiser: its conditioning holds the whole batch n times, one after the other, and so does its output.
        n: the number of predictions to combine.
        combine: what makes one of them.
    """

    def denoise(x: Tensor, t: int) -> Prediction:
        x0, eps, mix = denoiser(x, t)
        mixes: Sequence[Tensor | float] = [mix] * n if isinstance(mix, float) else mix.chunk(n)
        parts = zip(x0.chunk(n), eps.chunk(n), mixes, strict=True)
        return combine([Prediction(*part) for part in parts], x, t)

    return denoise


def weighted(weights: Sequence[float]) -> Combine:
    """The weighted sum of predictions."""

    def combine(predictions: Sequence[Prediction], x: Tensor, t: int) -> Prediction:
        x0, eps = torch.zeros_like(x), torch.zeros_like(x)
        for weight, prediction in zip(weights, predictions, strict=True):
            x0 = x0 + weight * prediction.x0
            eps = eps + weight * prediction.eps
        # A variance has no direction to be guided in: that of the least conditioned one, as in the fork.
        return Prediction(x0, eps, predictions[0].variance_mix)

    return combine


def rescaled(combine: Combine, amount: float, schedule: Schedule) -> Combine:
    """Brings the contrast back to that of the last, unguided prediction (Lin et al. 2024, eq. 15 and 16).

    Args:
        combine: of the guided prediction.
        amount: 0 = not at all, 1 = entirely; 0.7 in the paper.
        schedule: of the training.
    """

    def recombine(predictions: Sequence[Prediction], x: Tensor, t: int) -> Prediction:
        strong = combine(predictions, x, t)
        v = v_of(strong, schedule, t)
        ratio = _contrast(v_of(predictions[-1], schedule, t)) / _contrast(v)
        v = v * (amount * ratio + 1 - amount)
        return Prediction(*x0_and_eps(v, x, schedule, t, "v"), strong.variance_mix)

    return recombine


def _contrast(v: Tensor) -> Tensor:
    """Standard deviation of each picture, (B, 1, 1, 1)."""
    return v.flatten(1).std(1).view(-1, 1, 1, 1)


def within(
    interval: tuple[float, float], inside: Denoiser, outside: Denoiser, schedule: Schedule
) -> Denoiser:
    """One Denoiser in a part of the process and another elsewhere (Kynkäänniemi et al. 2024).

    Args:
        interval: low <= t / (n_steps - 1) <= high is inside; 0 is the clean end.
        inside, outside: for instance guided and not.
        schedule: of the training.
    """
    low, high = interval

    def denoise(x: Tensor, t: int) -> Prediction:
        is_inside = low <= t / (schedule.n_steps - 1) <= high
        return inside(x, t) if is_inside else outside(x, t)

    return denoise


def autoguided(denoiser: Denoiser, weaker: Denoiser, scale: float) -> Denoiser:
    """Guidance away from a weaker network with the same conditioning (Karras et al. 2024, equation 2).

    Args:
        denoiser: of the network in use.
        weaker: of a smaller or less trained one.
        scale: 1 = none.
    """
    return guided([weaker, denoiser], weighted([1 - scale, scale]))
