"""What a checkpoint is, in a few lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from txtdiff.config import RunConfig
from txtdiff.model.config import ModelConfig
from txtdiff.training.checkpoint import find_checkpoint
from txtdiff.training.contents import (
    CAPTION_TOWER,
    MODEL,
    average_file,
    load_config,
    read_facts,
    read_header,
)

__all__ = ["describe"]


def describe(path: Path) -> dict[str, Any]:
    """Facts about the checkpoint that `path` means, in the order in which one asks for them."""
    checkpoint = find_checkpoint(path)
    config, facts = load_config(checkpoint), read_facts(checkpoint)
    shapes = read_header(checkpoint / MODEL)
    if (checkpoint / CAPTION_TOWER).exists():
        shapes |= read_header(checkpoint / CAPTION_TOWER)
    rates = [rate for rate in config.averaging.rates if (checkpoint / average_file(rate)).exists()]
    size_bytes = sum(file.stat().st_size for file in checkpoint.iterdir())
    return {
        "checkpoint": str(checkpoint),
        "stage": _stage(config.model),
        "images seen": facts.get("images"),
        "started from": facts.get("started_from") or "random weights",
        "parameters": sum(_product(shape) for shape in shapes.values()),
        "reads": _reads(config.model),
        "predicts": config.diffusion.parameterisation,
        "variance": config.diffusion.variance,
        "schedule": f"{config.diffusion.noise_schedule}, {config.diffusion.n_steps} steps",
        "averages": ", ".join(str(rate) for rate in rates) or "none",
        "weights in an average": facts.get("averaging_count", "unknown"),
        "trained on": _source(config),
        "could not be read": facts.get("failures") or "none",
        "size on disk": f"{size_bytes / 1e6:.1f} MB",
    }


def _stage(model: ModelConfig) -> str:
    if model.upsampler is None:
        return f"base model, {model.image_size_px} px"
    return f"upsampler, {model.upsampler.small_size_px} -> {model.image_size_px} px"


def _reads(model: ModelConfig) -> str:
    parts = []
    if model.text is not None:
        known = {"char": "characters", "clip": "word pieces"}
        tokens = known.get(model.text.tokenizer, f"tokens of {model.text.tokenizer}")
        parts.append(f"text (up to {model.text.max_length - 2} {tokens})")
    if model.captions is not None:
        parts.append(f"captions ({model.captions.tower})")
    if model.n_classes is not None:
        parts.append(f"classes ({model.n_classes})")
    return ", ".join(parts) or "nothing"


def _source(config: RunConfig) -> str:
    source = config.data.catalog or config.data.folder
    synth = config.data.synth
    if synth is not None:
        return f"synthetic pictures, profile {', then '.join([synth.profile, *synth.later])}"
    return "unknown" if source is None else str(source)


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for edge in shape:
        product *= edge
    return product
