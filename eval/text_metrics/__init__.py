"""Target, reading -> numbers: pure functions, what counts as the same text, and other benchmarks' scores."""

from __future__ import annotations

from eval.text_metrics.pairs import (
    NORMALISERS,
    Normaliser,
    WordScores,
    cer,
    char_scores,
    edits,
    em,
    line_acc,
    line_prec,
    ned,
    normalise,
    trigram_sim,
    wer,
    word_prf,
)

__all__ = [
    "NORMALISERS",
    "Normaliser",
    "WordScores",
    "cer",
    "char_scores",
    "edits",
    "em",
    "line_acc",
    "line_prec",
    "ned",
    "normalise",
    "trigram_sim",
    "wer",
    "word_prf",
]
