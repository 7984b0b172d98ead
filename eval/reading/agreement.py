"""How far two readers agree: where they do not, a score says as much about the reader as about the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from rapidfuzz.distance import Levenshtein

from eval.reading.protocol import Protocol
from eval.statistics import Floats, bootstrap_weights, cluster_sums, draws_interval, mean_interval
from eval.store import Store
from eval.store.counts import load_counts
from eval.store.labels import distinct_labels
from eval.text_metrics.normalisers import Normaliser, flat, graphemes

__all__ = [
    "Agreement",
    "ReaderPair",
    "agreement_lines",
    "agreement_of",
    "cohen_kappa",
    "keep_agreements",
    "load_agreements",
]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two readers on the same pictures: those with text that both have read."""

    n: int
    equal: float | None = None
    """Share of pictures in which both read the same under the normaliser."""
    equal_low: float | None = None
    equal_high: float | None = None
    similarity: float | None = None
    """Mean of 1 - edits / longer length of the two readings."""
    kappa: float | None = None
    """Cohen's kappa of exact match; None where one of them always gives the same answer."""
    kappa_low: float | None = None
    kappa_high: float | None = None


def cohen_kappa(both: Floats, only_a: Floats, only_b: Floats, neither: Floats) -> Floats:
    """Agreement above chance of two yes-or-no judges (Cohen 1960); NaN where chance alone is certain."""
    n = both + only_a + only_b + neither
    observed = (both + neither) / n
    yes_a, yes_b = (both + only_a) / n, (both + only_b) / n
    chance = yes_a * yes_b + (1 - yes_a) * (1 - yes_b)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((observed - chance) / (1 - chance))


def agreement_of(a: pd.DataFrame, b: pd.DataFrame, normaliser: Normaliser) -> Agreement:
    """Agreement of two readers on one setting, from their rows of `text_scores`.

    Intervals are the 95 % cluster bootstrap's over prompts.
    """
    columns = ["prompt_id", "seed", "reading", "em_ci"]
    read = [frame[(frame["n_target"] > 0) & frame["reading"].notna()][columns] for frame in (a, b)]
    pairs = read[0].merge(read[1], on=["prompt_id", "seed"], suffixes=("_a", "_b"))
    if pairs.empty:
        return Agreement(0)
    texts = [[flat(str(reading), normaliser) for reading in pairs[f"reading_{side}"]] for side in "ab"]
    equal = np.array([one == other for one, other in zip(*texts, strict=True)], dtype=np.float64)
    similarity = [
        Levenshtein.normalized_similarity(graphemes(one), graphemes(other))
        for one, other in zip(*texts, strict=True)
    ]
    codes, names = pd.factorize(pairs["prompt_id"], sort=True)
    prompts, weights = codes.astype(np.int64), bootstrap_weights(len(names))
    interval = mean_interval(equal, prompts, weights)
    right_a, right_b = (pairs[f"em_ci_{side}"].to_numpy(float) for side in "ab")
    table = [
        right_a * right_b,
        right_a * (1 - right_b),
        (1 - right_a) * right_b,
        (1 - right_a) * (1 - right_b),
    ]
    cells = np.stack([cluster_sums(cell, prompts, len(names)) for cell in table], axis=1)
    kappa = float(cohen_kappa(*cells.sum(axis=0)[:, None])[0])
    spread = draws_interval(cohen_kappa(*(weights @ cells).T))
    return Agreement(
        n=len(pairs),
        equal=float(equal.mean()),
        equal_low=interval.low if interval else None,
        equal_high=interval.high if interval else None,
        similarity=float(np.mean(similarity)),
        kappa=kappa if np.isfinite(kappa) else None,
        kappa_low=spread.low if spread and np.isfinite(kappa) else None,
        kappa_high=spread.high if spread and np.isfinite(kappa) else None,
    )


def keep_agreements(store: Store, setting_ids: Sequence[str], one: Protocol, other: Protocol) -> None:
    """Agreement of two protocols on each setting, kept in the table `agreements`."""
    frames = [load_counts(store, setting_ids, protocol.id) for protocol in (one, other)]
    rows = []
    for setting_id in setting_ids:
        a, b = (frame[frame["setting_id"] == setting_id] for frame in frames)
        key = {"setting_id": setting_id, "protocol_a": one.id, "protocol_b": other.id}
        rows.append(key | asdict(agreement_of(a, b, one.normaliser)))
    store.write("agreements", rows)


@dataclass(frozen=True, slots=True)
class ReaderPair:
    """How far two readers agree on one setting's pictures."""

    label: str
    """The setting's."""
    a: str
    b: str
    agreement: Agreement


def load_agreements(store: Store, setting_ids: Sequence[str] | None = None) -> list[ReaderPair]:
    """What the store keeps of these settings (None: of all), in the order of the sweep."""
    rows = store.rows(
        """SELECT setting_id, ra.name, rb.name, g.n, equal, equal_low, equal_high, similarity,
                  kappa, kappa_low, kappa_high
           FROM agreements g JOIN settings s USING (setting_id)
           JOIN protocols pa ON pa.protocol_id = protocol_a JOIN readers ra ON ra.reader_id = pa.reader_id
           JOIN protocols pb ON pb.protocol_id = protocol_b JOIN readers rb ON rb.reader_id = pb.reader_id
           WHERE $1 IS NULL OR setting_id IN (SELECT unnest($1)) ORDER BY s.position, 2, 3""",
        [None if setting_ids is None else list(setting_ids)],
    )
    labels = distinct_labels(store)
    return [ReaderPair(labels[setting], a, b, Agreement(*numbers)) for setting, a, b, *numbers in rows]


def agreement_lines(pairs: Sequence[ReaderPair]) -> Iterator[str]:
    """Agreements as text, one line a setting and pair of readers."""
    for pair in pairs:
        label, a, b, found = pair.label, pair.a, pair.b, pair.agreement
        if found.equal is None or found.similarity is None:
            yield f"{label}: {a} and {b} have read no picture with text in common"
            continue
        same = f"{100 * found.equal:.1f} %"
        if found.equal_low is not None and found.equal_high is not None:
            same += f" [{100 * found.equal_low:.1f} {100 * found.equal_high:.1f}]"
        kappa = (
            "undefined (one of them always says the same)" if found.kappa is None else f"{found.kappa:.2f}"
        )
        if found.kappa_low is not None:
            kappa += f" [{found.kappa_low:.2f} {found.kappa_high:.2f}]"
        yield (
            f"{label}: {a} and {b} read the same in {same} of {found.n} pictures, "
            f"similarity {found.similarity:.3f}, kappa of exact match {kappa}"
        )
