"""The stages of a cascade: base model and upsamplers, loaded from checkpoints and checked to fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from datatools.errors import InputError
from txtdiff.conditioning import StageModel
from txtdiff.config import RunConfig
from txtdiff.diffusion.config import DiffusionConfig
from txtdiff.model.config import ModelConfig
from txtdiff.training.checkpoint import digest_of, find_checkpoint
from txtdiff.training.weights import load_network, read_network
from txtdiff.which_weights import Weights

__all__ = ["Cascade", "Stage", "load_cascade", "load_stage"]


@dataclass(frozen=True, eq=False)
class Stage:
    """One network of a cascade.

    model: the network and its process.
    name: how messages call it, usually its checkpoint's path.
    digest: sha256 of the checkpoint's manifest, which seals every file; None for a network made in memory.
    """

    model: StageModel
    name: str
    digest: str | None = None

    @property
    def config(self) -> ModelConfig:
        return self.model.network.config


@dataclass(frozen=True, eq=False)
class Cascade:
    """Stages that fit: the first makes pictures from nothing, each other one enlarges those before it.

    given: small pictures (N, C, h, w) in -1…1 that stand in for a base model's, one per prompt; every stage
        is then an upsampler.
    """

    stages: tuple[Stage, ...]
    given: Tensor | None = None

    def __post_init__(self) -> None:
        if not self.stages:
            raise InputError("a cascade needs at least a base model")
        if self.given is not None:
            _check_given(self.given, self.stages[0])
        elif self.stages[0].config.upsampler is not None:
            raise InputError(
                f"{self.stages[0].name} is an upsampler", "The first stage must be a base model."
            )
        for small, large in pairwise(self.stages):
            _check_fit(small, large)

    @property
    def size_px(self) -> int:
        """Width and height of the finished pictures."""
        return self.stages[-1].config.image_size_px


def load_cascade(
    paths: Sequence[Path],
    weights: Weights = "averaged",
    *,
    weaker: Path | None = None,
    device: torch.device | str = "cpu",
) -> Cascade:
    """A cascade from checkpoints, base first.

    Args:
        paths: run directories (their newest valid checkpoint) or step-<images> directories.
        weights: "averaged", "raw", or the rate of an average; the same for every stage.
        weaker: checkpoint of the network that autoguidance leads the base away from.
        device: where to sample.

    Raises:
        InputError: a checkpoint that cannot be used, or a weaker network of another process or picture.
    """
    stages = [load_stage(path, weights, device) for path in paths]
    if weaker is not None and stages:
        network, config = load_network(weaker, weights)
        _check_weaker(config, stages[0], weaker)
        stages[0] = replace(stages[0], model=replace(stages[0].model, weaker=network.to(device)))
    return Cascade(tuple(stages))


def _check_weaker(weaker: RunConfig, base: Stage, path: Path) -> None:
    """What both say of a noisy picture is added up: they must say the same thing of the same picture."""
    theirs, ours = _said_of(weaker.model, weaker.diffusion), _said_of(base.config, base.model.diffusion)
    for name, value in ours.items():
        if theirs[name] != value:
            raise InputError(
                f"{path} cannot lead the base away: its {name} is {theirs[name]}, the base's {value}",
                "Give an earlier or a smaller network that was trained as the base was.",
            )


def _said_of(model: ModelConfig, diffusion: DiffusionConfig) -> dict[str, object]:
    process = ("noise_schedule", "n_steps", "parameterisation", "variance")
    return {
        "model.image_size_px": model.image_size_px,
        "model.image_channels": model.image_channels,
        "model.upsampler.small_size_px": model.upsampler and model.upsampler.small_size_px,
        **{f"diffusion.{name}": getattr(diffusion, name) for name in process},
    }


def load_stage(path: Path, weights: Weights, device: torch.device | str) -> Stage:
    """One stage, a base model or an upsampler; arguments as of `load_cascade`."""
    checkpoint = find_checkpoint(path)
    network, config = read_network(checkpoint, weights)
    model = StageModel(network.to(device), config.diffusion, low_res=config.data.low_res)
    return Stage(model, str(path), digest_of(checkpoint))


def _check_given(given: Tensor, first: Stage) -> None:
    """See that pictures (N, C, h, w) are what the first stage enlarges, in colour or in its own channels."""
    upsampler = first.config.upsampler
    if upsampler is None:
        raise InputError(f"{first.name} is a base model: it enlarges no pictures", "Give an upsampler.")
    size_px, shape = upsampler.small_size_px, tuple(given.shape[1:])
    wanted = [(n_channels, size_px, size_px) for n_channels in sorted({upsampler.low_res_channels, 3})]
    if shape not in wanted:
        told = " or ".join(_spelled(one) for one in wanted)
        raise InputError(
            f"{first.name} takes pictures of {told} (channels, height, width), not {_spelled(shape)}",
            "Give pictures of the size it was trained on.",
        )


def _spelled(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _check_fit(small: Stage, large: Stage) -> None:
    upsampler = large.config.upsampler
    if upsampler is None:
        raise InputError(f"{large.name} is a base model", "Only the first stage of a cascade is one.")
    if upsampler.small_size_px != small.config.image_size_px:
        raise InputError(
            f"{large.name} enlarges pictures of {upsampler.small_size_px} px, "
            f"but {small.name} makes {small.config.image_size_px} px",
            "Give stages that fit, smallest first.",
        )
    if upsampler.low_res_channels > small.config.image_channels:
        raise InputError(f"{large.name} enlarges colour pictures, but {small.name} makes grey ones")
