"""Two settings on the same prompts and the same noise: who won what, and is it more than chance?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from datatools.console import plain
from datatools.errors import InputError, suggest
from eval.reading.protocol import load_protocols
from eval.statistics import (
    Interval,
    bootstrap_weights,
    cluster_sums,
    mcnemar_midp,
    ratio_interval,
    sign_flip_p,
)
from eval.store import Store
from eval.store.counts import load_counts
from eval.store.labels import distinct_labels

__all__ = ["Comparison", "Flip", "compare_settings", "comparison_lines"]

_LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Flip:
    """A picture that one side spelt right and the other did not."""

    prompt_id: str
    seed: int
    txt: str
    reading_a: str | None
    reading_b: str | None
    winner: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """EM of B minus EM of A over the pictures that both were asked for."""

    label_a: str
    label_b: str
    reader: str
    """Who read the pictures, how, and what counted as the same text."""
    n_pictures: int
    n_prompts: int
    em_a: float
    em_b: float
    interval: Interval | None
    p: float
    test: str
    n_both: int
    n_neither: int
    flips: tuple[Flip, ...]

    @property
    def is_worse(self) -> bool:
        """Whether B is worse than A by more than chance, at 5 %."""
        return self.em_b < self.em_a and self.p < _LEVEL


def compare_settings(store_a: Store, a: str, store_b: Store, b: str) -> list[Comparison]:
    """Compare two settings, of one store or of two, under every protocol that both have, the usual first.

    Args:
        a, b: label or id of a setting.

    Raises:
        InputError: no such setting, no protocol in common, or no picture in common.
    """
    (id_a, label_a), (id_b, label_b) = _find(store_a, a), _find(store_b, b)
    theirs = _protocols(store_b, id_b)
    shared = {id_: reader for id_, reader in _protocols(store_a, id_a).items() if id_ in theirs}
    if not shared:
        raise InputError(
            f"'{a}' and '{b}' were not read under one protocol", "Score both with the same --ocr and version."
        )
    comparisons = []
    for protocol_id, reader in shared.items():
        pairs = _pairs(load_counts(store_a, [id_a], protocol_id), load_counts(store_b, [id_b], protocol_id))
        if pairs.empty:
            raise InputError(f"'{a}' and '{b}' have no picture with the same prompt and seed")
        comparisons.append(_compare(pairs, label_a, label_b, reader))
    return comparisons


def comparison_lines(comparison: Comparison, n_flips: int) -> Iterator[str]:
    """The comparison as text, with the first flips of either side."""
    c = comparison
    yield f"read by {plain(c.reader)}"
    yield f"A  {plain(c.label_a)}: EM {100 * c.em_a:.1f} %"
    yield f"B  {plain(c.label_b)}: EM {100 * c.em_b:.1f} %"
    # Where nothing differs, resampling finds no spread: that is no interval.
    has_spread = c.interval is not None and c.interval.low < c.interval.high
    spread = " [{:+.1f} {:+.1f}]".format(*(100 * end for end in c.interval or ())) if has_spread else ""
    yield (
        f"B - A = {100 * (c.em_b - c.em_a):+.1f} points{spread}, "
        f"p = {c.p:.3g} ({c.test}), {c.n_pictures} pictures of {c.n_prompts} prompts"
    )
    n_a, n_b = (sum(flip.winner == side for flip in c.flips) for side in "AB")
    yield f"both right {c.n_both}, only A {n_a}, only B {n_b}, neither {c.n_neither}"
    for side in "AB":
        for flip in [flip for flip in c.flips if flip.winner == side][:n_flips]:
            read = " | ".join("(missing)" if r is None else repr(r) for r in (flip.reading_a, flip.reading_b))
            yield f"only {side}  {flip.prompt_id}  {plain(repr(flip.txt))}: {plain(read)}"


def _find(store: Store, name: str) -> tuple[str, str]:
    labels = distinct_labels(store)
    settings = [
        (setting_id, labels[setting_id], label)
        for setting_id, label in store.rows("SELECT setting_id, label FROM settings ORDER BY position")
    ]
    found = [row for row in settings if name in row]
    if len(found) == 1:
        return found[0][0], found[0][1]
    if found:
        ids = ", ".join(setting_id for setting_id, *_ in found)
        raise InputError(f"{len(found)} settings are called '{name}'", f"Give one of their ids: {ids}")
    near = suggest(name, list(labels.values())) or "Settings: " + ", ".join(labels.values())
    raise InputError(f"no setting '{name}' in {store.path}", near)


def _protocols(store: Store, setting_id: str) -> dict[str, str]:
    """Protocols that a setting was scored under, in words, by id; of several in the same words the newest."""
    sql = "SELECT DISTINCT protocol_id FROM scores WHERE setting_id = ? AND metric = 'em_ci'"
    scored = {protocol_id for (protocol_id,) in store.rows(sql, [setting_id])}
    found: dict[str, str] = {}
    for protocol_id, about in load_protocols(store).items():
        if protocol_id in scored and about.words not in found.values():
            found[protocol_id] = about.words
    return found


def _pairs(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Pictures with text that both sides were asked for. Ids of prompts are compared with their texts."""
    columns = ["prompt_id", "seed", "txt", "em_ci", "reading"]
    merged = a[a["n_target"] > 0][columns].merge(
        b[b["n_target"] > 0][columns], on=["prompt_id", "seed", "txt"], suffixes=("_a", "_b")
    )
    return merged.astype({"em_ci_a": float, "em_ci_b": float})


def _compare(pairs: pd.DataFrame, label_a: str, label_b: str, reader: str) -> Comparison:
    codes, names = pd.factorize(pairs["prompt_id"], sort=True)
    codes, n_prompts = codes.astype(np.int64), len(names)
    difference = (pairs["em_ci_b"] - pairs["em_ci_a"]).to_numpy(float)
    sums, counts = (cluster_sums(column, codes, n_prompts) for column in (difference, np.ones(len(pairs))))
    if n_prompts == len(pairs):
        p, test = mcnemar_midp(int((difference < 0).sum()), int((difference > 0).sum())), "McNemar mid-p"
    else:
        p, test = float(sign_flip_p((sums / counts)[:, None])[0]), "sign-flip permutation of prompt means"
    right_a, right_b = pairs["em_ci_a"] == 1, pairs["em_ci_b"] == 1
    return Comparison(
        label_a=label_a,
        label_b=label_b,
        reader=reader,
        n_pictures=len(pairs),
        n_prompts=n_prompts,
        em_a=float(pairs["em_ci_a"].mean()),
        em_b=float(pairs["em_ci_b"].mean()),
        interval=ratio_interval(sums, counts, bootstrap_weights(n_prompts)),
        p=p,
        test=test,
        n_both=int((right_a & right_b).sum()),
        n_neither=int((~right_a & ~right_b).sum()),
        flips=tuple(_flip(row) for row in pairs[right_a != right_b].itertuples()),
    )


def _flip(row: tuple[object, ...]) -> Flip:
    # itertuples: index, then the columns in the order of `_pairs`.
    _, prompt_id, seed, txt, em_a, reading_a, _, reading_b = row
    readings = [reading if isinstance(reading, str) else None for reading in (reading_a, reading_b)]
    return Flip(str(prompt_id), int(str(seed)), str(txt), readings[0], readings[1], "A" if em_a else "B")
