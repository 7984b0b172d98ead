"""The small pictures of a training batch: shrunk ones, and some of them as the base model makes them."""

from __future__ import annotations

import torch
from torch import Tensor

from datatools.errors import InputError
from txtdiff.conditioning import Prompt, batch_denoiser
from txtdiff.config import RunConfig
from txtdiff.data.batch import Batch
from txtdiff.data.config import RemadeConfig
from txtdiff.data.low_res import make_low_res
from txtdiff.data.order import noise_at, uniform_at
from txtdiff.data.tokenizer import DROP_TEXT
from txtdiff.diffusion.losses import add_noise
from txtdiff.diffusion.samplers.ddim import sample_ddim
from txtdiff.diffusion.schedule import make_schedule
from txtdiff.diffusion.steps import trailing_steps
from txtdiff.model.config import ModelConfig
from txtdiff.sampler_settings import SamplerSettings
from txtdiff.stages import Stage, load_cascade

__all__ = ["open_base", "small_pictures"]


def small_pictures(x0: Tensor, batch: Batch, config: RunConfig, base: Stage | None) -> tuple[Tensor, Tensor]:
    """What an upsampler is to enlarge, for each picture of a batch.

    Args:
        x0: (B, C, H, W) the batch's pictures in [-1, 1].
        base: from `open_base`; it makes small pictures anew as `data.low_res.remade` says.

    Returns:
        (B, c, h, w) small pictures, and which of them the base has made anew, (B,) bool.
    """
    upsampler, how, seed = config.model.upsampler, config.data.low_res, config.run.seed
    assert upsampler is not None
    small = make_low_res(x0, upsampler.small_size_px, how, seed=seed, positions=batch.positions)
    n_last = torch.zeros(len(batch), dtype=torch.int64)
    if base is not None and how.remade is not None:
        n_last = _steps_taken(uniform_at(seed, "remade", batch.positions), batch.texts, how.remade)
        noise = noise_at(seed, "remade_noise", batch.positions, small.shape[1:]).to(x0.device)
        small = _remake(small, noise, n_last, batch, base, how.remade)
    if upsampler.low_res_channels < small.shape[1]:
        small = small.mean(1, keepdim=True)
    return small, (n_last > 0).to(x0.device)


def open_base(config: RunConfig, device: torch.device) -> Stage | None:
    """The base that makes small pictures anew; None where none is asked for.

    Raises:
        InputError: there is no such checkpoint, its pictures are not what the upsampler's are shrunk to, it
            reads no text, or it cannot be guided or sampled as the settings say.
    """
    remade, upsampler = config.data.low_res.remade, config.model.upsampler
    if remade is None or upsampler is None:
        return None
    base = load_cascade([remade.base], device=device).stages[0]
    problem = _misfit(base.config, upsampler.small_size_px, config.model.image_channels)
    if problem is not None:
        raise InputError(f"data.low_res.remade.base: {remade.base} {problem}")
    try:
        trailing_steps(base.model.diffusion.n_steps, remade.n_steps)
        batch_denoiser(base.model, [Prompt(txt="")], _settings(remade), None)
    except (InputError, ValueError) as error:
        raise InputError(f"data.low_res.remade: {error}") from error
    return base


def _misfit(base: ModelConfig, small_size_px: int, channels: int) -> str | None:
    """Why such pictures cannot be made anew by this model, if they cannot."""
    if base.image_size_px != small_size_px:
        return f"makes pictures of {base.image_size_px} px, and this upsampler enlarges {small_size_px} px"
    if base.image_channels != channels:
        return "makes pictures of other colours than those that are trained on"
    if base.text is None or base.n_classes is not None:
        return "is not told by a transcription alone what to write"
    return None


def _steps_taken(chance: Tensor, texts: list[str], remade: RemadeConfig) -> Tensor:
    """How many steps of the base each picture is taken through, (B,); 0: it stays.

    A picture whose text is withheld stays: from noise the base would write anything.
    """
    span = remade.max_steps - remade.min_steps + 1
    drawn = remade.min_steps + (chance / remade.probability * span).long()
    is_told = torch.tensor([text != DROP_TEXT for text in texts])
    return torch.where((chance < remade.probability) & is_told, drawn, 0)


@torch.no_grad()
def _remake(
    small: Tensor, noise: Tensor, n_last: Tensor, batch: Batch, base: Stage, remade: RemadeConfig
) -> Tensor:
    """The small pictures, those with steps to take noised as far and sampled back."""
    model, small = base.model, small.clone()
    schedule = make_schedule(model.diffusion.noise_schedule, model.diffusion.n_steps)
    steps = trailing_steps(schedule.n_steps, remade.n_steps)
    for n in sorted(set(n_last.tolist()) - {0}):
        which = (n_last == n).nonzero()[:, 0].tolist()
        prompts = [Prompt(txt=batch.texts[i], capt=batch.captions[i]) for i in which]
        path = steps[remade.n_steps - n :]
        t = torch.full((len(which),), path[0], device=small.device)
        noised = add_noise(small[which], noise[which], t, schedule)
        denoiser = batch_denoiser(model, prompts, _settings(remade), None)
        small[which] = sample_ddim(denoiser, noised, schedule, path)
    return small


def _settings(remade: RemadeConfig) -> SamplerSettings:
    return SamplerSettings(
        sampler="ddim",
        n_steps=remade.n_steps,
        guidance_txt=remade.guidance_txt,
        guidance_capt=remade.guidance_capt,
    )
