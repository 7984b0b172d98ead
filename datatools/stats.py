"""What is in a catalog: counts, histograms, failures, and recall against a known truth."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datatools.bookkeeping.speak import rule_from_json
from datatools.catalog import Catalog
from datatools.catalog.duplicates import near_duplicates
from datatools.catalog.stored import lines_from
from datatools.console import plain
from datatools.errors import InputError
from datatools.transcript import TranscriptSettings, transcription

__all__ = ["Histogram", "Recall", "Stats", "catalog_stats", "draw_stats", "word_recall"]

_BAR_CHARS = 32
_SHOWN_GROUPS, _SHOWN_KEYS = 10, 4  # of near duplicates; the counts are complete

_COUNTS = {
    "pictures": "SELECT count(*) FROM pictures",
    "  with text": "SELECT count(*) FROM transcriptions WHERE text != ''",
    "  without text": "SELECT count(*) FROM transcriptions WHERE text = ''",
    "  with a given text": "SELECT count(*) FROM transcriptions WHERE source = 'given'",
    "  with a caption": "SELECT count(DISTINCT key) FROM captions",
    "  with a px scale": "SELECT count(*) FROM px_scales",
    "failures": "SELECT count(*) FROM failures",
    "lines read": "SELECT count(*) FROM lines",
}

_HISTOGRAMS: dict[str, tuple[str, list[float]]] = {
    "letter height, px": ("SELECT height_px AS x FROM lines", [0, 6, 8, 10, 12, 16, 24, 32, 48, 64, 96, 128]),
    "text length, characters": (
        "SELECT n_chars AS x FROM transcriptions",
        [0, 1, 5, 10, 20, 40, 80, 160, 320],
    ),
    "confidence of lines": (
        "SELECT confidence AS x FROM lines",
        [0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99],
    ),
    "shorter edge, px": (
        "SELECT least(width_px, height_px) AS x FROM pictures WHERE status = 'ok'",
        [0, 32, 64, 128, 256, 512, 1024, 2048],
    ),
}


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts between edges; the last bin has no upper end."""

    title: str
    edges: list[float]
    counts: list[int]


@dataclass(frozen=True, slots=True)
class Recall:
    """How much of a known text a reader found, word by word, case-insensitive."""

    engine: str
    n_pictures: int
    n_words: int
    n_found: int

    @property
    def value(self) -> float:
        """0 to 1."""
        return self.n_found / self.n_words if self.n_words else 1.0


@dataclass(frozen=True, slots=True)
class Stats:
    """What is in a catalog."""

    counts: dict[str, int]
    histograms: list[Histogram]
    failures: dict[str, int]
    """By cause, most frequent first."""
    recalls: list[Recall]
    """By reader, where the source has a truth.jsonl."""
    duplicates: list[list[str]] | None = None
    """Groups of near duplicates, largest first, each with the picture to keep in front; None: not asked."""


def catalog_stats(catalog: Catalog, truth: Path | None = None, *, duplicates: bool = False) -> Stats:
    """Count what is in a catalog, and what the readers found of a known truth.

    Args:
        catalog: an open catalog.
        truth: a truth.jsonl; None takes the one of the source, if it has one.
        duplicates: also look for near duplicates, which takes long where many pictures look alike.

    Raises:
        InputError: `truth` is given and is not there, or holds something else.
    """
    if truth is not None and not truth.is_file():
        raise InputError(f"there is no file {truth}", "Give the truth.jsonl that `datatools synth` wrote.")
    failures = catalog.arrow(
        "SELECT cause, count(*) AS n FROM failures GROUP BY cause ORDER BY n DESC, cause"
    )
    truth = truth or Path(catalog.info("source") or "") / "truth.jsonl"
    return Stats(
        {name: int(catalog.value(sql)) for name, sql in _COUNTS.items()},
        [_histogram(catalog, title, sql, edges) for title, (sql, edges) in _HISTOGRAMS.items()],
        {row["cause"]: row["n"] for row in failures.to_pylist()},
        word_recall(catalog, truth) if truth.is_file() else [],
        _duplicate_groups(catalog) if duplicates else None,
    )


def _duplicate_groups(catalog: Catalog) -> list[list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for row in near_duplicates(catalog).to_pylist():
        groups[row["of"]].append(row["key"])
    named = [[of, *(key for key in keys if key != of)] for of, keys in groups.items()]
    return sorted(named, key=lambda group: (-len(group), group))


def word_recall(catalog: Catalog, truth_path: Path) -> list[Recall]:
    """Recall of each reader over the pictures of a truth.jsonl (as `datatools synth` writes it).

    Words are parted at blanks and compared without regard to case; a word that stands twice must be read
    twice. Pictures that a reader failed on count with all their words.
    """
    truth = dict(_known_texts(truth_path))
    rule = catalog.info("rule")
    settings = TranscriptSettings() if rule is None else rule_from_json(rule).transcript
    read: dict[str, dict[str, str]] = defaultdict(dict)
    sql = "SELECT key, engine, lines FROM store.readings JOIN store.readers USING (reader)"
    for batch in catalog.batches(sql):
        for row in batch.to_pylist():
            if row["key"] in truth:
                read[row["engine"]][row["key"]] = transcription(lines_from(row["lines"]), settings)
    keys = set(catalog.arrow("SELECT key FROM pictures")["key"].to_pylist()) & set(truth)
    return [
        _recall(engine, {key: truth[key] for key in keys}, texts) for engine, texts in sorted(read.items())
    ]


def draw_stats(stats: Stats) -> Iterator[str]:
    """The lines to print."""
    width = max(len(name) for name in stats.counts)
    yield from (f"{name:<{width}}  {n:>10,}" for name, n in stats.counts.items())
    for histogram in stats.histograms:
        if sum(histogram.counts):
            yield ""
            yield from _draw(histogram)
    if stats.failures:
        yield ""
        yield "failures by cause"
        yield from (f"  {plain(cause):<18}{n:>10,}" for cause, n in stats.failures.items())
    if stats.duplicates is not None:
        yield ""
        yield from _draw_duplicates(stats.duplicates)
    for recall in stats.recalls:
        yield ""
        yield (
            f"word recall of {plain(recall.engine)} against the known truth: {recall.value:.1%} "
            f"({recall.n_found:,} of {recall.n_words:,} words, {recall.n_pictures:,} pictures)"
        )


def _histogram(catalog: Catalog, title: str, sql: str, edges: Sequence[float]) -> Histogram:
    counts = np.zeros(len(edges), dtype=np.int64)
    for batch in catalog.batches(sql, 100_000):
        values = batch["x"].drop_null().to_numpy(zero_copy_only=False)
        counts += np.histogram(values, [*edges, np.inf])[0]
    return Histogram(title, list(edges), counts.tolist())


def _draw(histogram: Histogram) -> Iterator[str]:
    yield histogram.title
    largest = max(histogram.counts)
    filled = [i for i, n in enumerate(histogram.counts) if n]
    shown = slice(filled[0], filled[-1] + 1)
    for low, n in zip(histogram.edges[shown], histogram.counts[shown], strict=True):
        # Eighths of a character: small counts stay visible.
        eighths = -(-n * _BAR_CHARS * 8 // largest)
        bar = "█" * (eighths // 8) + ("▏▎▍▌▋▊▉"[eighths % 8 - 1] if eighths % 8 else "")
        yield f"  {low:>6g} …  {n:>9,}  {bar}"


def _draw_duplicates(groups: Sequence[Sequence[str]]) -> Iterator[str]:
    n_spare = sum(len(group) - 1 for group in groups)
    yield f"near duplicates: {len(groups):,} groups, {n_spare:,} pictures that --drop-duplicates leaves out"
    for group in groups[:_SHOWN_GROUPS]:
        more = f" and {len(group) - 1 - _SHOWN_KEYS} more" if len(group) - 1 > _SHOWN_KEYS else ""
        yield plain(f"  {group[0]}  =  {', '.join(group[1 : 1 + _SHOWN_KEYS])}{more}")
    if len(groups) > _SHOWN_GROUPS:
        yield f"  and {len(groups) - _SHOWN_GROUPS} groups more"


def _recall(engine: str, truth: dict[str, str], texts: dict[str, str]) -> Recall:
    n_words = n_found = 0
    for key, text in truth.items():
        wanted, got = Counter(text.lower().split()), Counter(texts.get(key, "").lower().split())
        n_words += wanted.total()
        n_found += (wanted & got).total()
    return Recall(engine, len(truth), n_words, n_found)


def _known_texts(path: Path) -> Iterator[tuple[str, str]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                known = row["key"], row["text"]
            except (ValueError, TypeError, KeyError, RecursionError):
                known = None, None
            if not all(isinstance(value, str) for value in known):
                raise InputError(
                    f'{path}, line {number}, is not an object with a "key" and a "text"',
                    "Write it as `datatools synth` does, or name another file with --truth.",
                )
            yield known
