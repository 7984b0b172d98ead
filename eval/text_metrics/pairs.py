"""How far a reading is from the text that was asked for: pure functions `(target, reading) -> number`.

Characters are grapheme clusters. All but the line metrics read lines as one text joined by spaces.
Benchmarks use the same names for different things; these are ours, stated in docs/evaluation-protocol.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from rapidfuzz.distance import Levenshtein

from eval.text_metrics.normalisers import NORMALISERS, Normaliser, flat, graphemes, lines_of, normalise, words

__all__ = [
    "NORMALISERS",
    "Normaliser",
    "WordScores",
    "cer",
    "char_scores",
    "counted",
    "edits",
    "em",
    "line_acc",
    "line_prec",
    "ned",
    "normalise",
    "overlap",
    "shared",
    "shared_share",
    "trigram_sim",
    "trigrams",
    "wer",
    "word_prf",
]

Gram = TypeVar("Gram", str, tuple[str, ...])


class WordScores(NamedTuple):
    """Precision, recall and their harmonic mean, each in 0..1."""

    precision: float
    recall: float
    f1: float


def em(target: str, reading: str, normaliser: Normaliser = "ci") -> bool:
    """Exact match: the two texts are equal after normalising. Both empty is a match."""
    return flat(target, normaliser) == flat(reading, normaliser)


def edits(target: str, reading: str, normaliser: Normaliser = "ci") -> tuple[int, int, int]:
    """(Levenshtein distance, length of the target, length of the reading), in grapheme clusters."""
    t, h = graphemes(flat(target, normaliser)), graphemes(flat(reading, normaliser))
    return Levenshtein.distance(t, h), len(t), len(h)


def cer(target: str, reading: str, normaliser: Normaliser = "ci") -> float:
    """Character error rate: edits / length of the target. May exceed 1; nothing read is 1.

    An empty target gives the number of characters read, 0 when none, as jiwer does; averages leave such pairs
    out and count the characters as spurious.
    """
    distance, n_target, _ = edits(target, reading, normaliser)
    return distance / max(n_target, 1)


def ned(target: str, reading: str, normaliser: Normaliser = "ci") -> float:
    """Normalised edit similarity, higher is better: 1 - edits / the longer length. Both empty is 1."""
    distance, n_target, n_reading = edits(target, reading, normaliser)
    return 1 - distance / max(n_target, n_reading, 1)


def wer(target: str, reading: str, normaliser: Normaliser = "ci") -> float:
    """Word error rate: word edits / words of the target. An empty target gives the number of words read."""
    t, h = words(target, normaliser), words(reading, normaliser)
    return Levenshtein.distance(t, h) / max(len(t), 1)


def word_prf(target: str, reading: str, normaliser: Normaliser = "ci") -> WordScores:
    """Precision, recall, F1 over the multisets of words, blind to their order.

    A side without words makes its quotient undefined, which counts as 0, as does F1 when both are 0.
    """
    return _scores(words(target, normaliser), words(reading, normaliser))


def char_scores(target: str, reading: str, normaliser: Normaliser = "nospace") -> WordScores:
    """`word_prf` over grapheme clusters: a signal for early training, when no word is right yet."""
    return _scores(graphemes(flat(target, normaliser)), graphemes(flat(reading, normaliser)))


def line_acc(target: str, reading: str, normaliser: Normaliser = "ci") -> float:
    """Share of target lines that some line of the reading equals, each used once. Both empty is 1.

    With equality as the weight, the best one-to-one assignment is the intersection of the multisets.
    """
    t, h = lines_of(target, normaliser), lines_of(reading, normaliser)
    return overlap(t, h) / len(t) if t else float(not h)


def line_prec(target: str, reading: str, normaliser: Normaliser = "ci") -> float:
    """Share of lines read that were asked for: what extra lines lower. Nothing read is 0, both empty is 1."""
    return line_acc(reading, target, normaliser)


def trigram_sim(target: str, reading: str, normaliser: Normaliser = "ci") -> float:
    """Shared over all character trigrams, each text padded by two marks at both ends; 0..1.

    What the fork's author scored pictures with: NGram.compare of the `ngram` package, multisets, warp 1
    (nostalgebraist-autoresponder, diffusion_helpers). Both empty is 1, one empty is 0.
    """
    return shared_share(
        trigrams(graphemes(flat(target, normaliser))), trigrams(graphemes(flat(reading, normaliser)))
    )


def overlap(target: Sequence[str], reading: Sequence[str]) -> int:
    """Size of the intersection of two multisets."""
    return shared(counted(target), counted(reading))


def counted(items: Sequence[Gram]) -> dict[Gram, int]:
    """How often each item occurs: a `Counter`, or, quicker, a plain dict where nothing occurs twice."""
    once = dict.fromkeys(items, 1)
    return once if len(once) == len(items) else Counter(items)


def shared(target: dict[Gram, int], reading: dict[Gram, int]) -> int:
    """`overlap` of multisets that are counted already."""
    if not (isinstance(target, Counter) and isinstance(reading, Counter)):  # one of them holds nothing twice
        return len(target.keys() & reading.keys())
    return sum([min(n, target[item]) for item, n in reading.items() if item in target])


def trigrams(characters: str | Sequence[str]) -> dict[tuple[str, ...], int]:
    """Trigrams of a text's grapheme clusters, padded by two marks at both ends; none of an empty text."""
    if not characters:
        return {}
    padded = ["", "", *characters, "", ""]
    return counted(list(zip(padded, padded[1:], padded[2:], strict=False)))


def shared_share(target: dict[Gram, int], reading: dict[Gram, int]) -> float:
    """Shared over all members of two multisets; both empty is 1."""
    n_shared = shared(target, reading)
    union = sum(target.values()) + sum(reading.values()) - n_shared
    return n_shared / union if union else 1.0


def _scores(target: Sequence[str], reading: Sequence[str]) -> WordScores:
    n_shared = overlap(target, reading)
    precision = n_shared / len(reading) if reading else 0.0
    recall = n_shared / len(target) if target else 0.0
    f1 = 2 * precision * recall / (precision + recall) if n_shared else 0.0
    return WordScores(precision, recall, f1)
