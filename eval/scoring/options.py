"""How pictures are scored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eval.networks.names import OtherNetworkName
from eval.reading.protocol import Mode
from eval.text_metrics.normalisers import Normaliser

__all__ = ["ScoreOptions"]


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
