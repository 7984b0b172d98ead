"""Other benchmarks' text scores, quirks kept, over our readings: labelled compat, never headlines.

Each differs from scores of the same name; its docstring says how. They are computed on our reader's lines, so
they compare with each other, not with numbers published under another reader.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz
from rapidfuzz.distance import Levenshtein

__all__ = [
    "COMPAT_SCORES",
    "Pair",
    "anytext_scores",
    "compat_scores",
    "glyph_scores",
    "longtext_recall",
    "mario_scores",
    "oneig_text",
    "strict_ned_path",
    "textatlas_scores",
]

_NOT_KEPT = re.compile(r"[^\u4e00-\u9fa5a-zA-Z0-9\sàâäéèêëîïôöùûüçÀÂÄÉÈÊËÎÏÔÖÙÛÜÇ]")
"""Of OneIG-Bench, and LongText-Bench after it: all goes but letters, digits, French accents and Chinese."""
_CHINESE = re.compile("[\u4e00-\u9fff]")


@dataclass(frozen=True, slots=True)
class Pair:
    """A target and the reading of one picture, lines joined by newlines, "" when nothing was read."""

    target: str
    reading: str

    @property
    def boxes(self) -> list[str]:
        """What was read, line by line."""
        return [line.strip() for line in self.reading.split("\n") if line.strip()]


def mario_scores(pairs: Sequence[Pair]) -> dict[str, float]:
    """MARIO-Eval (TextDiffuser, 2023): `acc` compares sorted, joined words, blind to order and word ends.

    Precision and recall are macro averages, 0 where nothing was read; F is that of the averages.
    """
    n_right, precisions, recalls = 0, [], []
    for pair in pairs:
        t, h = pair.target.lower().split(), pair.reading.lower().split()
        n_right += "".join(sorted(t)) == "".join(sorted(h))
        shared = (Counter(t) & Counter(h)).total()
        precisions.append(shared / len(h) if h else 0.0)
        recalls.append(shared / len(t) if t else 0.0)
    precision, recall = _mean(precisions), _mean(recalls)
    f = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {"mario_acc": n_right / len(pairs), "mario_p": precision, "mario_r": recall, "mario_f": f}


def anytext_scores(pairs: Sequence[Pair]) -> dict[str, float]:
    """AnyText-benchmark (2024): per line, case-sensitive equality, and 1 - lev / (longer length + 1e-5).

    AnyText reads the known box of each line: readings of box mode are paired with it, a box in which nothing
    was read included; readings of the whole picture are paired by their order. Targets are cut to 20
    characters, as theirs.
    """
    equal, similar = [], []
    for pair in pairs:
        boxes = [line.strip() for line in pair.reading.split("\n")]
        for i, line in enumerate(pair.target.split("\n")):
            t, h = line.strip()[:20], boxes[i] if i < len(boxes) else ""
            equal.append(float(t == h))
            similar.append(1 - Levenshtein.distance(t, h) / (max(len(t), len(h)) + 1e-5))
    return {"anytext_senacc": _mean(equal), "anytext_ned": _mean(similar)}


def glyph_scores(pairs: Sequence[Pair]) -> dict[str, float | None]:
    """GlyphControl (2023): right when any one box equals the target, so further text costs nothing.

    LD is the least Levenshtein distance over boxes; pictures without any box are left out of it.
    """
    flat = [(" ".join(pair.target.split()), pair.boxes) for pair in pairs]
    distances = [min(Levenshtein.distance(t, box) for box in boxes) for t, boxes in flat if boxes]
    return {
        "glyph_acc": _mean([float(t in boxes) for t, boxes in flat]),
        "glyph_acc_lower": _mean([float(t.lower() in [box.lower() for box in boxes]) for t, boxes in flat]),
        "glyph_ld": _mean(distances) if distances else None,
    }


def strict_ned_path(pairs: Sequence[Pair]) -> dict[str, float]:
    """STRICT (2025): edits over the length of the edit path, lower is better; case and marks kept.

    One side empty is 1, both empty is 0.
    """
    values = []
    for pair in pairs:
        t, h = " ".join(pair.target.split()), " ".join(pair.reading.split())
        edits = Levenshtein.editops(t, h)
        # A path holds every edit and every character that stayed as it was.
        n_kept = len(t) - sum(edit.tag != "insert" for edit in edits)
        values.append(len(edits) / (len(edits) + n_kept) if t or h else 0.0)
    return {"strict_ned_path": _mean(values)}


def oneig_text(pairs: Sequence[Pair]) -> dict[str, float]:
    """OneIG-Bench (2025): 1 - min(M, ED) (1 - CR) (1 - WAC) / M, M = 100, or 50 where targets are Chinese.

    ED mean Levenshtein distance, CR share of perfect pictures, WAC micro recall of words; of characters where
    the target is Chinese, which loses its blanks.
    """
    cleaned = [(_cleaned(pair.target), _cleaned(pair.reading)) for pair in pairs]
    distance = _mean([Levenshtein.distance(t, h) for t, h in cleaned])
    perfect = _mean([float(t == h) for t, h in cleaned])
    units = [(t, h) if _CHINESE.search(t) else (t.split(), h.split()) for t, h in cleaned]
    found = sum((Counter(t) & Counter(h)).total() for t, h in units)
    n_units = sum(len(t) for t, _ in units)
    recall = found / n_units if n_units else 0.0
    most = 50.0 if any(_CHINESE.search(t) for t, _ in cleaned) else 100.0
    return {"oneig_text": 1 - min(most, distance) * (1 - perfect) * (1 - recall) / most}


def longtext_recall(pairs: Sequence[Pair]) -> dict[str, float]:
    """LongText-Bench (X-Omni, 2025): micro recall of words, cleaned as OneIG's, lower case; more is free."""
    sides = [[_NOT_KEPT.sub("", text).lower().split() for text in (p.target, p.reading)] for p in pairs]
    n_words = sum(len(t) for t, _ in sides)
    found = sum((Counter(t) & Counter(h)).total() for t, h in sides)
    return {"longtext_recall": found / n_words if n_words else 0.0}


def textatlas_scores(pairs: Sequence[Pair]) -> dict[str, float]:
    """TextAtlasEval (2025): words match greedily at fuzz.ratio >= 80, so one wrong letter of five is right.

    Its CER divides by the longer text and minds case, which the words do not; lines read are joined by
    blanks. Pictures with an empty target are skipped.
    """
    asked = [(p.target, " ".join(p.boxes)) for p in pairs if p.target.strip()]
    words = [(t.lower().split(), h.lower().split()) for t, h in asked]
    n_matched = sum(_fuzzy_matches(t, h) for t, h in words)
    n_target, n_reading = (sum(len(pair[side]) for pair in words) for side in (0, 1))
    precision, recall = (n_matched / n if n else 0.0 for n in (n_reading, n_target))
    f1 = 2 * precision * recall / (precision + recall) if n_matched else 0.0
    cer = _mean([Levenshtein.distance(t, h) / max(len(t), len(h), 1) for t, h in asked])
    return {"textatlas_acc": recall, "textatlas_f1": f1, "textatlas_cer": cer}


COMPAT_SCORES = (
    mario_scores,
    anytext_scores,
    glyph_scores,
    strict_ned_path,
    oneig_text,
    longtext_recall,
    textatlas_scores,
)


def compat_scores(pairs: Sequence[Pair]) -> dict[str, float | None]:
    """Every compat score of one setting's pictures."""
    scores: dict[str, float | None] = {}
    for score in COMPAT_SCORES:
        scores |= score(pairs) if pairs else {}
    return scores


def _cleaned(text: str) -> str:
    kept = _NOT_KEPT.sub("", text)
    return ("" if _CHINESE.search(kept) else " ").join(kept.split())


def _fuzzy_matches(target: list[str], reading: list[str]) -> int:
    left = list(reading)
    n_matched = 0
    for word in target:
        match = next((other for other in left if fuzz.ratio(word, other) >= 80), None)
        if match is not None:
            left.remove(match)
            n_matched += 1
    return n_matched


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
