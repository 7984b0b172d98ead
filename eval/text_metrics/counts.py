"""What is counted on one picture: every text metric of a setting is a quotient of sums of these."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from eval.text_metrics.normalisers import Normaliser, flat, graphemes, lines_of, normalise
from eval.text_metrics.pairs import counted, shared, shared_share, trigrams

_TO_THE_BONE = str.maketrans("0", "o", string.punctuation + string.whitespace + "1li|")

__all__ = ["PairCounts", "count_pair", "missing_counts"]


class PairCounts(NamedTuple):
    """Counts on one picture, characters and words under the protocol's normaliser."""

    em_strict: bool
    em_ci: bool
    em_alnum: bool
    em_nospace: bool
    em_confusable: bool
    n_target: int
    """Grapheme clusters of the target, lines joined by spaces."""
    n_reading: int
    n_edits: int
    n_edits_free: int
    """Edits after the lines of the reading were put into the order that fits the target best."""
    n_chars_target: int
    """Grapheme clusters without blanks, counted as multisets, as are words and lines below."""
    n_chars_reading: int
    n_chars_shared: int
    n_words_target: int
    n_words_reading: int
    n_words_shared: int
    n_word_edits: int
    n_lines_target: int
    n_lines_reading: int
    n_lines_shared: int
    n_cased: int
    """Aligned characters that are equal but for case and have a case."""
    n_case_same: int
    trigram_sim: float


@dataclass(frozen=True, slots=True)
class _Text:
    """A text taken apart under a normaliser. Targets come back with every setting, and many readings do."""

    flat: str | Sequence[str]
    """Grapheme clusters, lines joined by spaces."""
    words: Sequence[str]
    lines: Sequence[str]
    characters: Sequence[str]
    """Grapheme clusters without blanks."""
    characters_counted: dict[str, int]
    words_counted: dict[str, int]
    lines_counted: dict[str, int]
    trigrams: dict[tuple[str, ...], int]


@lru_cache(maxsize=1 << 15)
def _take_apart(text: str, normaliser: Normaliser) -> _Text:
    joined = flat(text, normaliser)
    words, lines = joined.split(), lines_of(text, normaliser)
    whole, characters = graphemes(joined), graphemes("".join(words))
    return _Text(
        whole,
        words,
        lines,
        characters,
        counted(characters),
        counted(words),
        counted(lines),
        trigrams(whole),
    )


@lru_cache(maxsize=1 << 16)
def count_pair(target: str, reading: str, normaliser: Normaliser = "ci") -> PairCounts:
    """Everything the text metrics need to know of one reading."""
    t, h = _take_apart(target, normaliser), _take_apart(reading, normaliser)
    n_edits = Levenshtein.distance(t.flat, h.flat)
    n_cased, n_case_same = _count_case(flat(target, "strict"), flat(reading, "strict"))
    return PairCounts(
        *_matches(target, reading),
        n_target=len(t.flat),
        n_reading=len(h.flat),
        n_edits=n_edits,
        n_edits_free=_edits_in_any_order(t.lines, h.lines, n_edits),
        n_chars_target=len(t.characters),
        n_chars_reading=len(h.characters),
        n_chars_shared=shared(t.characters_counted, h.characters_counted),
        n_words_target=len(t.words),
        n_words_reading=len(h.words),
        n_words_shared=shared(t.words_counted, h.words_counted),
        n_word_edits=Levenshtein.distance(t.words, h.words),
        n_lines_target=len(t.lines),
        n_lines_reading=len(h.lines),
        n_lines_shared=shared(t.lines_counted, h.lines_counted),
        n_cased=n_cased,
        n_case_same=n_case_same,
        trigram_sim=shared_share(t.trigrams, h.trigrams),
    )


def missing_counts(target: str, normaliser: Normaliser = "ci") -> PairCounts:
    """Counts of a picture that is missing or could not be read: nothing right, even for an empty target."""
    nothing = count_pair(target, "", normaliser)
    return nothing._replace(
        em_strict=False, em_ci=False, em_alnum=False, em_nospace=False, em_confusable=False, trigram_sim=0.0
    )


def _matches(target: str, reading: str) -> tuple[bool, bool, bool, bool, bool]:
    """Exact match under each normaliser. The stricter ones imply the laxer."""
    if flat(target, "strict") == flat(reading, "strict"):
        return True, True, True, True, True
    ci_target, ci_reading = flat(target, "ci"), flat(reading, "ci")
    if ci_target == ci_reading:
        return False, True, True, True, True
    if _differ_to_the_bone(ci_target, ci_reading):  # as most readings that are wrong
        return False, False, False, False, False
    alnum = flat(target, "alnum") == flat(reading, "alnum")
    nospace = normalise(target, "nospace") == normalise(reading, "nospace")
    return False, False, alnum, nospace, flat(target, "confusable") == flat(reading, "confusable")


def _differ_to_the_bone(target: str, reading: str) -> bool:
    """Whether texts under `ci` differ in what every normaliser keeps. Told of ASCII only; else False."""
    return (
        target.isascii()
        and reading.isascii()
        and target.translate(_TO_THE_BONE) != reading.translate(_TO_THE_BONE)
    )


def _edits_in_any_order(target: Sequence[str], reading: Sequence[str], n_edits: int) -> int:
    """Edits once lines are assigned one to one at the least cost; never more than in the order as read."""
    if n_edits == 0 or (len(target) < 2 and len(reading) < 2) or not target or not reading:
        return n_edits
    from scipy.optimize import linear_sum_assignment  # half a second, where lines are out of order

    t, h = [graphemes(line) for line in target], [graphemes(line) for line in reading]
    costs = process.cdist(t, h, scorer=Levenshtein.distance, dtype=np.int32)
    # A line left over costs its length, so a pair saves what both would have cost apart.
    alone = np.array([len(line) for line in t])[:, None] + np.array([len(line) for line in h])[None, :]
    rows, columns = linear_sum_assignment(costs - alone)
    partner = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    order = [partner[i] for i in range(len(target)) if i in partner]
    order += [j for j in range(len(reading)) if j not in set(order)]
    text = " ".join(reading[j] for j in order)
    return min(n_edits, Levenshtein.distance(graphemes(" ".join(target)), graphemes(text)))


def _count_case(target: str, reading: str) -> tuple[int, int]:
    if target == reading:
        return (n_cased := _n_cased(target)), n_cased
    n_cased = n_same = 0
    for block in Levenshtein.opcodes(_folded(target), _folded(reading)):
        if block.tag != "equal":
            continue
        t, h = target[block.src_start : block.src_end], reading[block.dest_start : block.dest_end]
        n = _n_cased(t)
        n_cased += n
        n_same += n if t == h else sum(a == b for a, b in zip(t, h, strict=True) if a.lower() != a.upper())
    return n_cased, n_same


def _n_cased(text: str) -> int:
    """Letters that have a case."""
    return sum(map(str.isalpha, text)) if text.isascii() else sum(c.lower() != c.upper() for c in text)


def _folded(text: str) -> str | list[str]:
    """Each character folded by itself, so that positions stay: "ß" alone becomes two."""
    return text.lower() if text.isascii() else [c.casefold() for c in text]
