"""What synthetic pictures say: dictionary words by frequency band, random strings, numbers."""

from __future__ import annotations

import zlib
from functools import cache
from pathlib import Path
from string import ascii_lowercase
from typing import Literal

from numpy.random import Generator

from datatools.synth.chance import pick

__all__ = [
    "ALPHABET",
    "BANDS",
    "Band",
    "draw_digits",
    "draw_letters",
    "draw_random",
    "is_held_out",
    "words",
]

Band = Literal["common", "frequent", "rare"]
BANDS: tuple[Band, ...] = ("common", "frequent", "rare")

ALPHABET = "ABDEFGHKLMNPRTXYabdehnt3479"
"""Letters that no reader takes for one another: at most one of B 8, G 6, g 9 q, none of O 0 o Q, I l 1 i j,
S s 5 and Z z 2, at most one of pairs that size alone tells apart (K k, X x, …); no r, whose rn is an m."""

_HELD_OUT_SHARE = 10  # one word in ten


@cache
def _bands() -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    band = ""
    for line in (Path(__file__).parent / "words_en.txt").read_text("utf-8").splitlines():
        if line.startswith("["):
            band = line.strip("[]")
            found[band] = []
        elif not line.startswith("#"):
            found[band].append(line)
    return {band: tuple(members) for band, members in found.items()}


def is_held_out(word: str) -> bool:
    """Whether a word belongs to the test half of the split: one in ten, by its spelling alone."""
    return zlib.crc32(word.lower().encode()) % _HELD_OUT_SHARE == 0


@cache
def words(bands: tuple[Band, ...], letters: tuple[int, int], held_out: bool) -> tuple[str, ...]:
    """The words of some bands with a number of letters in a range, either held out or not."""
    shortest, longest = letters
    return tuple(
        word
        for band in bands
        for word in _bands()[band]
        if shortest <= len(word) <= longest and is_held_out(word) == held_out
    )


def draw_random(rng: Generator, letters: tuple[int, int]) -> str:
    """A string over `ALPHABET` that means nothing."""
    return "".join(pick(rng, ALPHABET) for _ in range(int(rng.integers(letters[0], letters[1] + 1))))


def draw_letters(rng: Generator, letters: tuple[int, int], held_out: bool) -> str:
    """Letters a to z in any order, each as likely at every place; in the wanted half of the split."""
    while True:
        n_letters = int(rng.integers(letters[0], letters[1] + 1))
        string = "".join(pick(rng, ascii_lowercase) for _ in range(n_letters))
        if is_held_out(string) == held_out:
            return string


def draw_digits(rng: Generator, letters: tuple[int, int]) -> str:
    """A number, without a leading zero."""
    n_digits = int(rng.integers(letters[0], letters[1] + 1))
    return str(int(rng.integers(10 ** (n_digits - 1), 10**n_digits)))
