"""The fork's sampling command lines -> how to sample with ours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from datatools.errors import InputError
from datatools.home import expand_home
from txtdiff.data.tokenizer import DROP_TEXT
from txtdiff.fork.config_json import read_line
from txtdiff.fork.files import read_state
from txtdiff.fork.network import load_with_tower
from txtdiff.fork.notes import idle_notes
from txtdiff.fork.parse import ForkFlags, refuse_flags
from txtdiff.model.unet import UNet

__all__ = ["ForkSampling", "fork_sampling", "load_fork_model", "our_guidance_scale"]


@dataclass(frozen=True, slots=True)
class ForkSampling:
    """What a sampling command line of the fork asks for.

    Attributes:
        model: its `modelN.pt` or `ema_…_N.pt`.
        flags: the flags that describe its network, for `load_fork_model`.
        txt, capt: prompt; None = none given.
        n: pictures; None = as many as an upsampler is given.
        batch_size: pictures at a time.
        seed: None = by chance.
        sampler: "ddim" or "ddpm".
        fork_spacing: its list of timesteps, for `SamplerSettings.fork_spacing`.
        guidance_scale: in our convention, 1 = none.
        clamp: keep predicted pictures within -1…1.
        base_samples: an upsampler's input, the .npz that the base model's sampling wrote; None = none given.
        base_data: instead, a folder of true pictures, of which the first base_data_offset are passed over.
        notes: flags that have no effect, each with the reason.
    """

    model: Path
    flags: ForkFlags
    txt: str | None
    capt: str | None
    n: int | None
    batch_size: int
    seed: int | None
    sampler: Literal["ddim", "ddpm"]
    fork_spacing: str
    guidance_scale: float
    clamp: bool
    base_samples: Path | None
    base_data: Path | None
    base_data_offset: int
    notes: list[str]


def fork_sampling(argv: Sequence[str], stage: Literal["base", "upsampler"] | None = None) -> ForkSampling:
    """Read a command line of the fork's sampling scripts, and the config.json that it names.

    Raises:
        InputError: an unknown or refused flag, or a missing model.
    """
    flags, notes = read_line(argv, "sample", stage)
    refuse_flags(flags)
    if not flags.text("model_path"):
        raise InputError("the fork's command line: --model_path is missing", "Give a model of the fork.")
    if flags.text("txt_drop_string") != DROP_TEXT:
        raise InputError(f"--txt_drop_string is refused: it is always {DROP_TEXT} here")
    seed, w, upsampler = flags.whole("seed"), flags.number("guidance_scale"), flags.upsampler
    return ForkSampling(
        model=Path(flags.text("model_path")),
        flags=flags,
        txt=flags.text("txt_override" if upsampler else "text_input") or None,
        capt=None if upsampler else flags.text("capt_input") or None,
        n=None if upsampler and "num_samples" not in flags.given else flags.whole("num_samples"),
        batch_size=flags.whole("batch_size"),
        seed=seed if seed > -1 else None,
        sampler="ddim" if flags.on("use_ddim") and not upsampler else "ddpm",
        fork_spacing=flags.text("timestep_respacing") or str(flags.whole("diffusion_steps")),
        guidance_scale=our_guidance_scale(w if flags.on("clf_free_guidance") else 0.0),
        clamp=flags.on("clip_denoised"),
        base_samples=_path(flags, "base_samples") if upsampler else None,
        base_data=_path(flags, "base_data_dir") if upsampler else None,
        base_data_offset=flags.whole("base_data_offset") if upsampler else 0,
        notes=notes + _notes(flags),
    )


def _path(flags: ForkFlags, name: str) -> Path | None:
    return Path(flags.text(name)) if flags.text(name) else None


def our_guidance_scale(w: float) -> float:
    """The fork's guidance weight w, in (1 + w) * conditional - w * unconditional, as our scale s = 1 + w.

    A weight of 0 or less is none in the fork.

    Raises:
        InputError: infinite, or no number.
    """
    if not math.isfinite(w):
        raise InputError(f"--guidance_scale {w} is no number to guide with")
    return 1.0 + max(w, 0.0)


def load_fork_model(sampling: ForkSampling) -> UNet:
    """The network that a sampling command line describes, with its weights."""
    return load_with_tower(sampling.flags, read_state(sampling.model))


def _idle_prompts(flags: ForkFlags) -> Iterator[str]:
    for prompt, tower in (("text_input", "txt"), ("capt_input", "using_capt")):
        if flags.values.get(prompt) and not flags.on(tower):  # the upsampler's script has no such flags
            yield f"--{prompt} {flags.values[prompt]} has no effect: {tower} is 0"


def _notes(flags: ForkFlags) -> list[str]:
    notes = [*idle_notes(flags), *_idle_prompts(flags)]
    path = flags.text("config_path")
    if path and not expand_home(path).is_file():
        notes.append(f"--config_path {path} has no effect: there is no such file")
    if flags.upsampler and flags.on("use_ddim"):
        notes.append("--use_ddim True has no effect: the fork's upsampler script ignores it")
    if flags.upsampler and flags.text("base_samples"):
        names = ["base_data_dir", "base_data_offset", "blur_prob"]
        if flags.number("blur_prob") > 0:
            names += ["blur_sigma_min", "blur_sigma_max", "blur_width"]
        notes += [
            f"--{name} {flags.values[name]} has no effect: --base_samples is given"
            for name in names
            if name in flags.given
        ]
    if not flags.on("clf_free_guidance") and flags.number("guidance_scale"):
        notes.append("--guidance_scale has no effect: clf_free_guidance is 0")
    return notes
