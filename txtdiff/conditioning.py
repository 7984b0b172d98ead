"""From prompts to what a network is told, and from a network to the guided Denoiser of one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from datatools.errors import InputError
from txtdiff.data.config import LowResConfig
from txtdiff.data.low_res import shrink
from txtdiff.data.tokenizer import DROP_TEXT, NULL_CAPTION, encode_captions, encode_texts
from txtdiff.diffusion.config import DiffusionConfig
from txtdiff.diffusion.consistency import consistent
from txtdiff.diffusion.denoiser import Denoiser, network_denoiser
from txtdiff.diffusion.guidance import (
    Given,
    autoguided,
    guidance_terms,
    guided,
    guided_stacked,
    rescaled,
    weighted,
    within,
)
from txtdiff.diffusion.schedule import make_schedule
from txtdiff.diffusion.thresholding import thresholded
from txtdiff.model.unet import UNet
from txtdiff.sampler_settings import SamplerSettings

__all__ = ["LowRes", "Prompt", "StageModel", "batch_denoiser", "conditioning"]

EVERYTHING = Given(txt=True, capt=True)
MAX_STACKED_ON_CPU = 8


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What one picture should show, and the seed of its noise."""

    txt: str
    """Transcription: the text in the picture, lines joined by a newline; empty = no text."""
    capt: str | None = None
    """Caption: a description of the picture; None = not given."""
    seed: int = 0
    """Picture and seed belong together: the same seed gives the same noise in any batch."""
    label: int | None = None
    """Class, for networks with classes; None = not given."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"seed {self.seed} is negative", "Seeds count from 0.")


@dataclass(frozen=True, eq=False)
class StageModel:
    """A network and the process it was trained for.

    network: in eval mode, on its device.
    weaker: the network of autoguidance, conditioned alike.
    stacks_guidance: evaluate the parts of guidance as one larger batch; False: one after the other; None:
        whichever is faster.
    low_res: how an upsampler's small pictures were made in training.
    """

    network: UNet
    diffusion: DiffusionConfig
    weaker: UNet | None = None
    stacks_guidance: bool | None = None
    low_res: LowResConfig = field(default_factory=LowResConfig)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def stacks(self, n_pictures: int) -> bool:
        """Whether the parts of guidance for so many pictures go through the network together."""
        if self.stacks_guidance is not None:
            return self.stacks_guidance
        # Measured by benchmarks/sampling.py: a CPU gains with few pictures only, a GPU always.
        return self.device.type != "cpu" or n_pictures <= MAX_STACKED_ON_CPU


@dataclass(frozen=True, eq=False)
class LowRes:
    """What an upsampler starts from.

    pictures: (B, c, h, w), noised as the settings say.
    level: of that noise, if the network is told one.
    clean: the same pictures without noise.
    """

    pictures: Tensor
    level: int | None
    clean: Tensor


def batch_denoiser(
    model: StageModel, prompts: Sequence[Prompt], settings: SamplerSettings, low_res: LowRes | None
) -> Denoiser:
    """The Denoiser of one batch: conditioning bound, guided, autoguided, thresholded, as the settings say.

    Texts become ids here and captions features, once for all steps.
    """
    schedule = make_schedule(model.diffusion.noise_schedule, model.diffusion.n_steps)
    denoiser = _guided_denoiser(model, prompts, settings, low_res)
    if settings.autoguidance != 1:
        if model.weaker is None:
            raise InputError("autoguidance needs a second, weaker network", "Give one, or leave it at 1.")
        weaker = _plain_denoiser(model.weaker, model.diffusion, prompts, low_res, [EVERYTHING])
        denoiser = autoguided(denoiser, weaker, settings.autoguidance)
    if settings.low_res_consistency:
        if low_res is None:
            raise InputError("low_res_consistency has no effect on a base model", "Set it for the upsampler.")
        small_px, config = low_res.clean.shape[-1], model.low_res
        smaller = partial(shrink, small_px=small_px, config=config)
        denoiser = consistent(denoiser, schedule, low_res.clean, smaller, settings.low_res_consistency)
    if settings.clamp:
        denoiser = thresholded(denoiser, schedule, settings.dynamic_threshold)
    return denoiser


def _guided_denoiser(
    model: StageModel, prompts: Sequence[Prompt], settings: SamplerSettings, low_res: LowRes | None
) -> Denoiser:
    has_txt, has_capt = _reads(model.network)
    scales = _scales(settings, has_txt, has_capt)
    terms = guidance_terms(*scales, has_txt=has_txt, has_capt=has_capt)
    plain = partial(_plain_denoiser, model.network, model.diffusion, prompts, low_res)
    if len(terms) == 1:
        return plain([*terms])
    schedule = make_schedule(model.diffusion.noise_schedule, model.diffusion.n_steps)
    combine = weighted([*terms.values()])
    if settings.guidance_rescale:
        combine = rescaled(combine, settings.guidance_rescale, schedule)
    if model.stacks(len(prompts)):
        denoiser = guided_stacked(plain([*terms]), len(terms), combine)
    else:
        denoiser = guided([plain([given]) for given in terms], combine)
    if settings.guidance_interval is None:
        return denoiser
    return within(settings.guidance_interval, denoiser, plain([EVERYTHING]), schedule)


def _reads(network: UNet) -> tuple[bool, bool]:
    """Whether the network reads a transcription (or a class, which goes with it), and whether a caption."""
    config = network.config
    return config.text is not None or config.n_classes is not None, config.captions is not None


def _scales(settings: SamplerSettings, has_txt: bool, has_capt: bool) -> tuple[float, float]:
    """The two guidance scales. A scale for what the network does not read is refused, not ignored."""
    if settings.guidance_txt != 1 and not has_txt:
        raise InputError(
            "guidance_txt has no effect: this network reads no text and no class", "Leave it at 1."
        )
    if settings.guidance_capt != 1 and not has_capt:
        raise InputError("guidance_capt has no effect: this network reads no caption", "Leave it at 1.")
    # With one of the two only one difference exists, and its scale is the scale of both.
    txt = settings.guidance_txt if has_txt else settings.guidance_capt
    capt = settings.guidance_capt if has_capt else settings.guidance_txt
    return txt, capt


def _plain_denoiser(
    network: UNet,
    diffusion: DiffusionConfig,
    prompts: Sequence[Prompt],
    low_res: LowRes | None,
    givens: Sequence[Given],
) -> Denoiser:
    """One evaluation of the prompts, repeated once for each of `givens`."""
    return network_denoiser(network, diffusion, conditioning(network, prompts, low_res, givens))


def conditioning(
    network: UNet, prompts: Sequence[Prompt], low_res: LowRes | None, givens: Sequence[Given]
) -> dict[str, Any]:
    """The network's keyword arguments: all prompts as the first of `givens` has it, then as the next.

    What is not given is replaced by what stood for it in training: DROP_TEXT, NULL_CAPTION, the last class.
    """
    config, device = network.config, next(network.parameters()).device
    rows = [(prompt, given) for given in givens for prompt in prompts]
    cond: dict[str, Any] = {}
    if config.text is not None:
        texts = [prompt.txt if given.txt else DROP_TEXT for prompt, given in rows]
        cond["txt"] = encode_texts(texts, config.text.max_length, config.text.tokenizer).to(device)
    if config.captions is not None:
        captions = [prompt.capt if given.capt and prompt.capt else NULL_CAPTION for prompt, given in rows]
        cond["capt"] = network.encode_captions(encode_captions(captions).to(device))
    if config.n_classes is not None:
        dropped = config.n_classes - 1  # the fork's class_ix_drop, 999 of 1000
        for prompt in prompts:
            if not 0 <= (prompt.label or 0) <= dropped:
                raise InputError(f"class {prompt.label}: this network knows 0 to {dropped}")
        labels = [
            prompt.label if given.txt and prompt.label is not None else dropped for prompt, given in rows
        ]
        cond["y"] = torch.tensor(labels, device=device)
    if low_res is not None:
        # The same whatever is given, and the network repeats it where it must.
        cond["low_res"] = low_res.pictures
        if low_res.level is not None:
            cond["cond_timesteps"] = torch.full((len(prompts),), low_res.level, device=device)
    return cond
