"""What goes wrong with letters, by kind: misshapen, dropped, merged, repeated (DrawText, Liu et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import zip_longest

import pandas as pd
from rapidfuzz.distance import Levenshtein

from eval.text_metrics.normalisers import flat, graphemes

__all__ = ["ErrorKinds", "count_error_kinds", "error_kinds"]

_Edit = tuple[str, int, int]
"""What is done, at which letter of the text, and at which of the reading."""


@dataclass(frozen=True, slots=True)
class ErrorKinds:
    """Errors over pictures in which something was read, and how many letters they asked for."""

    n_asked: int = 0
    misread: int = 0
    """One letter read as another: misshapen, or mistaken by the reader."""
    lost: int = 0
    merged: int = 0
    """Two letters read as one other: "rn" as "m"."""
    repeated: int = 0
    """A letter read once more beside itself."""
    added: int = 0

    def __add__(self, other: ErrorKinds) -> ErrorKinds:
        return ErrorKinds(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def error_kinds(counts: pd.DataFrame) -> dict[str, ErrorKinds]:
    """By setting, over pictures in which something was read."""
    if counts.empty:
        return {}
    read = counts[counts["reading"].fillna("") != ""]
    found = {}
    for key, frame in read.groupby("setting_id", sort=False):
        of_each = map(count_error_kinds, frame["txt"], frame["reading"])
        found[str(key)] = sum(of_each, ErrorKinds())
    return found


def count_error_kinds(target: str, reading: str) -> ErrorKinds:
    """The errors of one reading, in the cheapest alignment, case and marks kept."""
    t, h = graphemes(flat(target, "strict")), graphemes(flat(reading, "strict"))
    kinds = list(_kinds(t, h))
    return ErrorKinds(len(t), **{name: kinds.count(name) for name in dict.fromkeys(kinds)})


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
            yield _kind(edit, h)


def _is_merge(edit: _Edit, following: _Edit) -> bool:
    """Whether a letter is replaced and its neighbour lost, in either order."""
    return {edit[0], following[0]} == {"replace", "delete"} and following[1] == edit[1] + 1


def _kind(edit: _Edit, h: Sequence[str]) -> str:
    tag, _, to = edit
    if tag == "insert":
        return "repeated" if h[to] in (*h[max(0, to - 1) : to], *h[to + 1 : to + 2]) else "added"
    return "misread" if tag == "replace" else "lost"
