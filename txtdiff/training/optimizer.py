"""AdamW with the fork's learning rates per kind of parameter, and their course over the run."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from txtdiff.model.caption_encoder import CaptionEncoder
from txtdiff.model.feed_forward import Gain
from txtdiff.model.text_attention import TextLayer
from txtdiff.model.text_encoder import TextEncoder
from txtdiff.training.config import OptimConfig

__all__ = ["make_optimizer", "parameter_kinds", "rate_factor", "set_rates"]

Kind = Literal["text", "gain", "caption", "other"]


def parameter_kinds(network: nn.Module) -> dict[str, Kind]:
    """Parameter name -> which learning rate it follows (fork_spec 8.3). Only those that are trained."""
    kinds: dict[str, Kind] = {n: "other" for n, weight in network.named_parameters() if weight.requires_grad}
    # Outer modules come first, so what lies inside overrules them.
    for prefix, module in network.named_modules():
        kind = _module_kind(prefix, module)
        if kind is not None:
            kinds |= {name: kind for name in kinds if name.startswith(f"{prefix}.")}
    return kinds


def _module_kind(prefix: str, module: nn.Module) -> Kind | None:
    if isinstance(module, TextEncoder | TextLayer):
        return "text"
    if isinstance(module, CaptionEncoder):
        return "caption"
    # The fork went by names: zero-initialised factors of whole branches are called `g` and go with the text.
    if isinstance(module, Gain) and not prefix.startswith("text_encoder.") and "rezero" not in prefix:
        return "gain"
    return None


def make_optimizer(network: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over the parameters that are trained, one group for each learning rate in use."""
    base = {
        "text": config.text_lr or config.lr,
        "gain": config.gain_lr or config.lr,
        "caption": config.caption_lr or config.lr,
        "other": config.lr,
    }
    groups: dict[float, list[nn.Parameter]] = {}
    weights = dict(network.named_parameters())
    for name, kind in parameter_kinds(network).items():
        groups.setdefault(base[kind], []).append(weights[name])
    return torch.optim.AdamW(
        [{"params": group, "lr": lr, "base_lr": lr} for lr, group in groups.items()],
        betas=(config.beta1, config.beta2),
        eps=1e-8,
        weight_decay=config.weight_decay,
        fused=True,
    )


def rate_factor(images: int, batch_size: int, config: OptimConfig) -> float:
    """What the learning rates are multiplied by for the step that begins after `images` pictures.

    The fork's course (fork_spec 8.2) with steps counted in images: a linear rise whose first step is already
    above 0, then a constant or a linear fall counted from the end of the rise.
    """
    if config.warmup_images:
        risen = (images + batch_size - config.warmup_from_image) / config.warmup_images
        if risen < 1:
            return max(risen, 0.0)
    if config.anneal_images is None:
        return 1.0
    return max(0.0, 1 - max(0, images - config.warmup_images) / config.anneal_images)


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to `factor` times its own."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
