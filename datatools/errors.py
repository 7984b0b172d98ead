"""What a user can get wrong, said once and clearly. Every command shows these without a traceback."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["InputError", "in_words", "suggest"]


class InputError(Exception):
    """Something the user gave cannot be used: a path, an option, a file. Commands exit with 2.

    Args:
        what: what is wrong, naming the thing (file, key, option) and where it stands.
        remedy: what to do about it, a sentence.
    """

    def __init__(self, what: str, remedy: str | None = None) -> None:
        super().__init__(what if remedy is None else f"{what}\n{remedy}")
        self.what = what
        self.remedy = remedy


def in_words(error: BaseException) -> str:
    """Kind and first line of an error that somebody else's code raised, of which 200 characters."""
    said = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {said}"[:200]


def suggest(word: str, known: Iterable[str]) -> str | None:
    """ "Did you mean …?" for the known word nearest to `word`, or None when nothing is near."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean '{near[0]}'?" if near else None
