"""How pictures are scored."""

from __future__ import annotations

from dataclasses import dataclass

from eval.normalise import Normaliser

__all__ = ["ScoreOptions"]


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """How pictures are read, compared and judged."""

    normaliser: Normaliser = "ci"
    min_confidence: float = 0.5
    clip: tuple[str, str] | None = None
    """Architecture and weights of the scoring CLIP; None: agreement is not scored."""
