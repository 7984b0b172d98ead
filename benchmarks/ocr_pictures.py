"""The pictures that readers are measured on, and how many mistakes a reading of them has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datatools.ocr import TextLine
from datatools.synth import SynthOptions, SynthPicture, make_picture
from datatools.transcript import TranscriptSettings, transcription
from eval.statistics import bootstrap_weights, ratio_interval, sign_flip_p
from eval.text_metrics import edits

SIZES_PX = (64, 128, 256, 512)
PROFILES = ("plain", "scene")


@dataclass(frozen=True)
class Mistakes:
    """Of one picture: characters to edit and characters there; words found and words there."""

    n_edits: int
    n_chars: int
    n_words_found: int
    n_words: int


def pictures_with_text(
    n_each: int, sizes_px: Sequence[int] = SIZES_PX, seed: int = 2026
) -> list[tuple[int, SynthPicture]]:
    """`n_each` pictures of every size and profile, from the test half of words and fonts, interleaved.

    Returns:
        (size in pixels, picture) pairs. Pictures without text are left out: they have no characters to miss.
    """
    found: list[list[tuple[int, SynthPicture]]] = []
    for size_px in sizes_px:
        for profile in PROFILES:
            # a seed of its own: with one seed the sizes would show the same texts
            options = SynthOptions(size_px=size_px, profile=profile, seed=seed + size_px, split="test")
            with_text: list[tuple[int, SynthPicture]] = []
            index = 0
            while len(with_text) < n_each:
                picture = make_picture(options, index)
                index += 1
                if picture.text:
                    with_text.append((size_px, picture))
            found.append(with_text)
    return [pair for pairs in zip(*found, strict=True) for pair in pairs]


def mistakes(picture: SynthPicture, lines: Sequence[TextLine]) -> Mistakes:
    """What a reading of a picture got wrong, case-insensitively, by the rules of the evaluation."""
    reading = transcription(lines, TranscriptSettings())
    n_edits, n_chars, _ = edits(picture.text, reading, "ci")
    wanted = Counter(picture.text.casefold().split())
    got = Counter(reading.casefold().split())
    return Mistakes(n_edits, n_chars, (wanted & got).total(), wanted.total())


def error_rate(found: Sequence[Mistakes]) -> str:
    """Character error rate in per cent, micro-averaged, with a 95 % bootstrap interval over pictures."""
    edited, there = _columns(found)
    interval = ratio_interval(edited, there, bootstrap_weights(len(found)))
    rate = 100 * edited.sum() / there.sum()
    return (
        f"{rate:.1f}"
        if interval is None
        else f"{rate:.1f} ({100 * interval.low:.1f}-{100 * interval.high:.1f})"
    )


def recall(found: Sequence[Mistakes]) -> str:
    """Words found in per cent, with a 95 % bootstrap interval over pictures."""
    hits = np.array([m.n_words_found for m in found], np.float64)
    there = np.array([m.n_words for m in found], np.float64)
    interval = ratio_interval(hits, there, bootstrap_weights(len(found)))
    share = 100 * hits.sum() / there.sum()
    return (
        f"{share:.1f}"
        if interval is None
        else f"{share:.1f} ({100 * interval.low:.1f}-{100 * interval.high:.1f})"
    )


def paired_difference(found: Sequence[Mistakes], other: Sequence[Mistakes]) -> str:
    """Character error rate of `found` minus that of `other` over the same pictures, in points.

    With a 95 % bootstrap interval over pictures, and p of a sign-flip permutation test on edits per picture.
    """
    edited, there = _columns(found)
    difference = edited - _columns(other)[0]
    interval = ratio_interval(difference, there, bootstrap_weights(len(found)))
    points = 100 * difference.sum() / there.sum()
    if interval is None:
        return f"{points:+.2f}"
    p = float(np.ravel(sign_flip_p(difference[:, None]))[0])
    return f"{points:+.2f} ({100 * interval.low:+.2f} to {100 * interval.high:+.2f}), p {p:.3f}"


def _columns(found: Sequence[Mistakes]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    edited = np.array([m.n_edits for m in found], np.float64)
    return edited, np.array([m.n_chars for m in found], np.float64)
