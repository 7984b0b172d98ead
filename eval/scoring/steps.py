"""Pictures -> readings and features -> scores, each step kept in the store and never done twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations

from datatools.ocr import OcrEngine
from eval.metrics.aggregate import score_texts
from eval.metrics.score import Score
from eval.metrics.seen_words import load_seen, seen_scores
from eval.reading.agreement import keep_agreements
from eval.reading.pictures import read_pictures
from eval.reading.protocol import Protocol
from eval.scoring.options import ScoreOptions
from eval.scoring.text import count_texts
from eval.store import Store
from eval.store.counts import load_counts

__all__ = ["read_and_score", "replace_scores", "score_again", "score_text"]


def read_and_score(
    store: Store, setting_ids: Sequence[str], engines: Sequence[OcrEngine], options: ScoreOptions
) -> list[Protocol]:
    """Score these settings on text, fidelity and agreement; what the store holds already is not redone.

    Each reader makes rows of its own, never ranked with another's; where there are several, how far they
    agree is kept too (`eval.reading.agreement`).
    """
    # The hub's client and fsspec are theirs alone, and every command imports this room.
    from eval.scoring.clip import score_clip
    from eval.scoring.fidelity import score_fidelity

    protocols = [score_text(store, setting_ids, engine, options) for engine in engines]
    for one, other in combinations(protocols, 2):
        keep_agreements(store, setting_ids, one, other)
    for setting_id, protocol_id, scores in score_fidelity(store, setting_ids, options.other_networks):
        replace_scores(store, setting_id, protocol_id, scores)
    for setting_id, protocol_id, scores in score_clip(store, setting_ids, options.clip):
        replace_scores(store, setting_id, protocol_id, scores)
    return protocols


def score_text(
    store: Store, setting_ids: Sequence[str], engine: OcrEngine, options: ScoreOptions
) -> Protocol:
    """Read and score these settings on text alone."""
    reader_id = read_pictures(store, engine, setting_ids, options.mode)
    protocol = Protocol(reader_id, options.min_confidence, options.normaliser, options.mode)
    score_again(store, setting_ids, protocol)
    return protocol


def score_again(store: Store, setting_ids: Sequence[str], protocol: Protocol) -> None:
    """Text scores of stored readings under a protocol. Nothing is generated or read."""
    count_texts(store, protocol, setting_ids)
    counts = load_counts(store, setting_ids, protocol.id)
    seen = load_seen(store, setting_ids)
    for setting_id, frame in counts.groupby("setting_id", sort=False):
        scores = score_texts(frame, protocol.normaliser)
        scores |= seen_scores(frame, seen[seen["setting_id"] == setting_id])
        _keep(store, str(setting_id), protocol.id, scores)


def _keep(store: Store, setting_id: str, protocol_id: str, scores: Mapping[str, Score]) -> None:
    rows = [
        asdict(score) | {"setting_id": setting_id, "metric": metric, "protocol_id": protocol_id}
        for metric, score in scores.items()
    ]
    store.write("scores", rows)


def replace_scores(store: Store, setting_id: str, protocol_id: str, scores: Mapping[str, Score]) -> None:
    """Keep scores that follow from the pictures alone: there is one of each, under its newest protocol."""
    with store.transaction():
        _keep(store, setting_id, protocol_id, scores)
        store.execute(
            "DELETE FROM scores WHERE setting_id = ? AND metric IN (SELECT unnest(?)) AND protocol_id <> ?",
            [setting_id, list(scores), protocol_id],
        )
