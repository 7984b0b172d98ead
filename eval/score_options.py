"""How pictures are scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from datatools.errors import InputError, suggest
from eval.normalise import Normaliser
from eval.protocol import Mode

__all__ = ["OtherNetworkName", "ScoreOptions", "other_networks"]

OtherNetworkName = Literal["efficientnet", "dinov2"]


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """How pictures are read, compared and judged."""

    normaliser: Normaliser = "ci"
    min_confidence: float = 0.5
    clip: tuple[str, str] | None = None
    """Architecture and weights of the scoring CLIP; None: agreement is not scored."""
    other_networks: tuple[OtherNetworkName, ...] = ()
    """Networks beside Inception over whose features the Fréchet distance is taken."""
    mode: Mode = "e2e"
    seen_words: Path | None = None
    """Catalog that the model was trained on; None: the one that a cascade's base names, if any."""


def other_networks(names: Sequence[str]) -> tuple[OtherNetworkName, ...]:
    """Networks by their names, each once.

    Raises:
        InputError: there is no such network.
    """
    known: tuple[OtherNetworkName, ...] = get_args(OtherNetworkName)
    for name in names:
        if name not in known:
            remedy = suggest(name, known) or f"Networks: {', '.join(known)}."
            raise InputError(f"no network '{name}' to take a distance over", remedy)
    return tuple(network for network in known if network in names)
