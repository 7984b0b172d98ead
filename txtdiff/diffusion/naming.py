"""A second thing to learn: which character stands where in the picture.

The error of a picture says little of spelling, since a wrong letter costs as much as a letter moved by a
pixel. A network that must also name the character in each cell of its largest feature map, from the noisy
picture and the text, has to find the place of every letter of the text; what it learns for that, it draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from txtdiff.diffusion.config import DiffusionConfig
from txtdiff.diffusion.losses import LossTerms, training_losses

__all__ = ["UNKNOWN", "losses_with_names", "naming_error"]

UNKNOWN = -1
"""Stands in a map of characters where nobody knows which one is there."""


def losses_with_names(
    network: Callable[..., tuple[Tensor, Tensor]],
    x0: Tensor,
    t: Tensor,
    noise: Tensor,
    cond: Mapping[str, Any],
    characters: Tensor,
    config: DiffusionConfig,
) -> LossTerms:
    """`training_losses`, and the error in naming characters on top, weighted by `config.character_weight`.

    Args:
        network: called once, with name_characters = True; returns its prediction and the logits.
        characters: (B, M, M) int64, the character in each cell, 0 for none, or UNKNOWN.
    """
    named: list[Tensor] = []

    def predict(*args: Any, **kwargs: Any) -> Tensor:
        prediction, logits = network(*args, **kwargs, name_characters=True)
        named.append(logits)
        return prediction

    terms = training_losses(predict, x0, t, noise, cond, config)
    error = naming_error(named[0], characters)
    return terms._replace(loss=terms.loss + config.character_weight * error, characters=error)


def naming_error(logits: Tensor, characters: Tensor) -> Tensor:
    """Cross-entropy of the characters' names, (B,): the mean over all cells, 0 where they are UNKNOWN.

    Args:
        logits: (B, V, M, M).
        characters: (B, M, M) int64.
    """
    cells = F.cross_entropy(logits.float(), characters, ignore_index=UNKNOWN, reduction="none")
    return cells.flatten(1).mean(1)
