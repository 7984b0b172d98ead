"""What goes wrong with letters, by kind: misshapen, dropped, merged, repeated (DrawText, Liu et al. 2022)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import pandas as pd
from rapidfuzz.distance import Levenshtein

from eval.leaderboard.panels import with_readings
from eval.text_metrics.normalisers import flat, graphemes

__all__ = ["ErrorKinds", "count_error_kinds", "error_kinds"]

_Edit = tuple[str, int, int]
"""What is done, at which character of the text, and at which of the reading."""


@dataclass(frozen=True, slots=True)
class ErrorKinds:
    """Errors over pictures in which something was read, and how many characters they asked for."""

    n_asked: int = 0
    misread: int = 0
    """One character read as another: misshapen, or mistaken by the reader."""
    lost: int = 0
    merged: int = 0
    """Two neighbours read as one other: "rn" as "m"."""
    repeated: int = 0
    """A character read once more beside itself."""
    added: int = 0


def error_kinds(counts: pd.DataFrame) -> dict[str, ErrorKinds]:
    """By setting, over the pictures that were asked for text and in which something was read."""
    return {
        str(key): count_error_kinds(zip(frame["txt"], frame["reading"], strict=True))
        for key, frame in with_readings(counts).groupby("setting_id", sort=False)
    }


def count_error_kinds(pairs: Iterable[tuple[str, str]]) -> ErrorKinds:
    """The errors of (text, reading), each in its cheapest alignment, case and marks kept."""
    n_asked, kinds = 0, Counter[str]()
    for target, reading in pairs:
        t, h = graphemes(flat(target, "strict")), graphemes(flat(reading, "strict"))
        n_asked += len(t)
        if t != h:
            kinds.update(_kinds(t, h))
    return ErrorKinds(n_asked, **kinds)


def _kinds(t: Sequence[str], h: Sequence[str]) -> Iterator[str]:
    edits = [(edit.tag, edit.src_pos, edit.dest_pos) for edit in Levenshtein.editops(t, h)]
    is_told = False  # as the second half of a merge
    for edit, following in zip_longest(edits, edits[1:]):
        if is_told:
            is_told = False
        elif following is not None and _is_merge(edit, following):
            is_told = True
            yield "merged"
        else:
            yield _kind(edit, t, h)


def _is_merge(edit: _Edit, following: _Edit) -> bool:
    """Whether a character is replaced and its neighbour lost, in either order."""
    return {edit[0], following[0]} == {"replace", "delete"} and following[1] == edit[1] + 1


def _kind(edit: _Edit, t: Sequence[str], h: Sequence[str]) -> str:
    tag, at, to = edit
    if tag == "insert":
        return "repeated" if h[to] in t[max(0, at - 1) : at + 1] else "added"
    return "misread" if tag == "replace" else "lost"
