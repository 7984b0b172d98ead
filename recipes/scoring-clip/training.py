"""Contrastive training (Radford et al. 2021) on a CPU; a stopped run goes on where it was."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from open_clip.model import CustomTextCLIP
from pictures import Captioned, batch_at
from torch import Tensor
from torch.nn import functional as F

from datatools.console import messages


@dataclass(frozen=True)
class TrainOptions:
    """How long and how fast. Time is counted in pictures."""

    n_images: int
    """The rate falls to zero over the last fifth, so that a longer run continues a shorter one before it."""
    seed: int
    batch_size: int = 256
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup_images: int = 10_000
    save_every_images: int = 10_240


def train(
    network: CustomTextCLIP,
    tokenize: Callable[[list[str]], Tensor],
    prepare: Callable[[Tensor], Tensor],
    data: Captioned,
    options: TrainOptions,
    checkpoint: Path,
) -> None:
    """Train `network` in place, from `checkpoint` on when there is one.

    Args:
        tokenize: captions -> ids (n, context).
        prepare: pictures (n, 3, 64, 64) uint8 -> what the network takes.
    """
    optimiser = torch.optim.AdamW(_groups(network, options.weight_decay), lr=options.lr, betas=(0.9, 0.98))
    n_seen = _resume(network, optimiser, checkpoint)
    network.train()
    mean_loss = None
    while n_seen < options.n_images:
        for group in optimiser.param_groups:
            group["lr"] = options.lr * _rate(n_seen, options)
        pictures, captions = batch_at(data, options.seed, n_seen, options.batch_size)
        loss = contrastive_loss(network, prepare(pictures), tokenize(captions), captions)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        network.logit_scale.data.clamp_(0, math.log(100))
        n_seen += len(captions)
        mean_loss = loss.item() if mean_loss is None else 0.95 * mean_loss + 0.05 * loss.item()
        if n_seen % options.save_every_images == 0 or n_seen >= options.n_images:
            messages.print(f"{n_seen} of {options.n_images} pictures, loss {mean_loss:.3f}")
            _save(network, optimiser, n_seen, checkpoint)


def contrastive_loss(network: CustomTextCLIP, pictures: Tensor, ids: Tensor, captions: list[str]) -> Tensor:
    """Each picture finds its caption and each caption its picture; pictures with one caption share it."""
    scale = network.logit_scale.exp()
    logits = scale * network.encode_image(pictures, normalize=True) @ _text_vectors(network, ids).T
    numbers = torch.tensor([captions.index(caption) for caption in captions])
    same = (numbers[:, None] == numbers[None, :]).float()
    target = same / same.sum(dim=1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def _text_vectors(network: CustomTextCLIP, ids: Tensor) -> Tensor:
    """Without the columns that are padding in every row: they change nothing and cost the most."""
    n_tokens = int((ids != 0).sum(dim=1).max())
    whole = network.text.attn_mask
    network.text.attn_mask = whole[:n_tokens, :n_tokens]
    vectors: Tensor = network.encode_text(ids[:, :n_tokens], normalize=True)
    network.text.attn_mask = whole
    return vectors


def _rate(n_seen: int, options: TrainOptions) -> float:
    rising = min(1.0, (n_seen + 1) / options.warmup_images)
    falling = min(1.0, 5 * (1 - n_seen / options.n_images))
    return rising * falling


def _groups(network: CustomTextCLIP, weight_decay: float) -> list[dict[str, object]]:
    """Decay for matrices and kernels alone."""
    named = list(network.named_parameters())
    decayed = [p for name, p in named if p.ndim >= 2 and "embedding" not in name]
    others = [p for name, p in named if p.ndim < 2 or "embedding" in name]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _resume(network: CustomTextCLIP, optimiser: torch.optim.Optimizer, checkpoint: Path) -> int:
    if not checkpoint.exists():
        return 0
    state = torch.load(checkpoint, weights_only=True)
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["n_seen"])


def _save(network: CustomTextCLIP, optimiser: torch.optim.Optimizer, n_seen: int, checkpoint: Path) -> None:
    state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "n_seen": n_seen}
    part = checkpoint.with_suffix(".part")
    torch.save(state, part)
    part.replace(checkpoint)
