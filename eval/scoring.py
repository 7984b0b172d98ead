"""Pictures -> readings and features -> scores, each step kept in the store and never done twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import pandas as pd

from datatools.ocr import OcrEngine
from eval.aggregate import score_texts
from eval.board import Score
from eval.clip_score import DEFAULT_MODEL
from eval.clip_scoring import score_clip
from eval.fidelity_scoring import score_fidelity
from eval.normalise import Normaliser
from eval.protocol import Protocol
from eval.reading import read_pictures
from eval.store import Store
from eval.text_scoring import count_texts

__all__ = ["Counts", "ScoreOptions", "count_pictures", "load_counts", "read_and_score", "score_again"]


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """How pictures are scored."""

    normaliser: Normaliser = "ci"
    min_confidence: float = 0.5
    clip: tuple[str, str] | None = DEFAULT_MODEL
    """Architecture and weights of the scoring CLIP."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Pictures that were expected, made, made without any text being read, and failed or missing."""

    expected: int
    done: int
    no_text: int
    failed: int


def read_and_score(
    store: Store, setting_ids: Sequence[str], engine: OcrEngine, options: ScoreOptions = ScoreOptions()
) -> Protocol:
    """Score these settings on text, fidelity and agreement; what the store holds already is not redone."""
    reader_id = read_pictures(store, engine, setting_ids)
    protocol = Protocol(reader_id, options.min_confidence, options.normaliser)
    score_again(store, setting_ids, protocol)
    for setting_id, protocol_id, scores in score_fidelity(store, setting_ids):
        _replace(store, setting_id, protocol_id, scores)
    for setting_id, protocol_id, scores in score_clip(store, setting_ids, options.clip):
        _replace(store, setting_id, protocol_id, scores)
    return protocol


def score_again(store: Store, setting_ids: Sequence[str], protocol: Protocol) -> None:
    """Text scores of stored readings under a protocol. Nothing is generated or read."""
    count_texts(store, protocol, setting_ids)
    counts = load_counts(store, setting_ids, protocol.id)
    for setting_id, frame in counts.groupby("setting_id", sort=False):
        _keep(store, str(setting_id), protocol.id, score_texts(frame))


def load_counts(store: Store, setting_ids: Sequence[str], protocol_id: str) -> pd.DataFrame:
    """Rows of `text_scores` with the prompt's stratum and text, in the order of the suite."""
    return store.frame(
        """SELECT t.*, p.txt, p.stratum, p.position FROM text_scores t
           JOIN settings s USING (setting_id)
           JOIN prompts p ON p.suite_id = s.suite_id AND p.prompt_id = t.prompt_id
           WHERE t.protocol_id = ? AND t.setting_id IN (SELECT unnest(?))
           ORDER BY s.position, p.position, t.seed""",
        [protocol_id, list(setting_ids)],
    )


def count_pictures(store: Store, setting_ids: Sequence[str], protocol_id: str) -> Counts:
    """Counts over these settings; no text are pictures in which the protocol's reader read nothing."""
    [(expected, done)] = store.rows(
        """SELECT count(*), count(*) FILTER (status = 'done') FROM samples
           WHERE setting_id IN (SELECT unnest(?))""",
        [list(setting_ids)],
    )
    [(no_text,)] = store.rows(
        """SELECT count(*) FROM text_scores
           WHERE protocol_id = ? AND setting_id IN (SELECT unnest(?)) AND reading = ''""",
        [protocol_id, list(setting_ids)],
    )
    return Counts(expected, done, no_text, expected - done)


def _keep(store: Store, setting_id: str, protocol_id: str, scores: Mapping[str, Score]) -> None:
    rows = [
        asdict(score) | {"setting_id": setting_id, "metric": metric, "protocol_id": protocol_id}
        for metric, score in scores.items()
    ]
    store.write("scores", rows)


def _replace(store: Store, setting_id: str, protocol_id: str, scores: Mapping[str, Score]) -> None:
    """Keep scores that follow from the pictures alone: there is one of each, under its newest protocol."""
    store.execute(
        "DELETE FROM scores WHERE setting_id = ? AND metric IN (SELECT unnest(?))",
        [setting_id, list(scores)],
    )
    _keep(store, setting_id, protocol_id, scores)
