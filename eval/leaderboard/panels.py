"""What lies behind a score: EM by length of the text, and which characters are taken for which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

import pandas as pd
from rapidfuzz.distance import Levenshtein

from eval.leaderboard.board import LengthBin
from eval.statistics import wilson
from eval.text_metrics.normalisers import Normaliser, flat, graphemes

__all__ = ["confusions", "count_confusions", "em_by_length", "with_readings"]

_EDGES = (1, 3, 5, 7, 9, 12, 16, 24, 40, 80, 10**6)


def em_by_length(counts: pd.DataFrame) -> dict[str, list[LengthBin]]:
    """EM of each setting by the number of characters asked for; bins without pictures are left out.

    The interval is Wilson's with n = prompts: repeats of a prompt tell little new.
    """
    if counts.empty:
        return {}
    with_text = counts[counts["n_target"] > 0]
    return {str(key): _bins(frame) for key, frame in with_text.groupby("setting_id", sort=False)}


def confusions(counts: pd.DataFrame, n_most: int = 200) -> dict[str, list[tuple[str, str, int]]]:
    """The most frequent (asked, read, times) of each setting, over `with_readings`."""
    found = {}
    for key, frame in with_readings(counts).groupby("setting_id", sort=False):
        most = count_confusions(zip(frame["txt"], frame["reading"], strict=True))[:n_most]
        found[str(key)] = [(asked, answered, n) for (asked, answered), n in most]
    return found


def with_readings(counts: pd.DataFrame) -> pd.DataFrame:
    """The pictures that were asked for text and in which something was read."""
    if counts.empty:
        return pd.DataFrame(columns=["setting_id", "txt", "reading"])
    return counts[(counts["reading"].fillna("") != "") & (counts["txt"].str.strip() != "")]


def count_confusions(
    pairs: Iterable[tuple[str, str]], normaliser: Normaliser = "strict"
) -> list[tuple[tuple[str, str], int]]:
    """(asked, read) characters that differ in the cheapest alignment, most frequent first; "" is nothing."""
    counter: Counter[tuple[str, str]] = Counter()
    for target, reading in pairs:
        t, h = graphemes(flat(target, normaliser)), graphemes(flat(reading, normaliser))
        for edit in Levenshtein.editops(t, h):
            asked = "" if edit.tag == "insert" else t[edit.src_pos]
            read = "" if edit.tag == "delete" else h[edit.dest_pos]
            counter[asked, read] += 1
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))


def _bins(frame: pd.DataFrame) -> list[LengthBin]:
    bins = []
    for low, high in pairwise(_EDGES):
        inside = frame[(frame["n_target"] >= low) & (frame["n_target"] < high)]
        if inside.empty:
            continue
        em, n_prompts = float(inside["em_ci"].mean()), inside["prompt_id"].nunique()
        interval = wilson(em * n_prompts, n_prompts)
        longest = int(inside["n_target"].max()) if high == _EDGES[-1] else high - 1
        bins.append(LengthBin(low, longest, len(inside), em, interval.low, interval.high))
    return bins
