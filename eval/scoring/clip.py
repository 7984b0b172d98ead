"""CLIP scores of a setting's pictures: description, text, both. Embeddings are kept in the store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from eval.identity import identity
from eval.metrics.score import Score
from eval.networks.clip_agreement import CLIP_KINDS, ClipKind, agreement, clip_prompts, shuffled_floor
from eval.networks.clip_weights import WeightsMissing, clip_id, weights_file
from eval.reading.pictures import Picture, find_picture
from eval.scoring.measured import measured
from eval.statistics import bootstrap_weights, cluster_sums, ratio_interval
from eval.store import Store
from eval.store.features import Features, keep_features, load_features

if TYPE_CHECKING:
    from eval.clip_score import ClipScorer

__all__ = ["score_clip"]

MEASURES_VERSION = 1
"""Raised whenever a change here could change a score of the same vectors."""

_CELLS = """
    SELECT s.setting_id, s.prompt_id, s.status, s.sha256, p.txt, p.capt, p.prompt
    FROM samples s JOIN settings USING (setting_id)
    JOIN prompts p ON p.suite_id = settings.suite_id AND p.prompt_id = s.prompt_id
    WHERE s.setting_id IN (SELECT unnest(?)) ORDER BY settings.position, p.position, s.seed
"""


def score_clip(
    store: Store, setting_ids: Sequence[str], model: tuple[str, str] | None
) -> Iterator[tuple[str, str, dict[str, Score]]]:
    """CLIP scores: (setting, protocol id, scores) of each setting; without weights the reason instead."""
    cells = store.frame(_CELLS, [list(setting_ids)])
    scorer = _open(model)
    if not isinstance(scorer, str):
        keys = sorted(cells.loc[cells["status"] == "done", "sha256"].unique())
        load = partial(find_picture, store)
        keep_features(store, scorer.id, keys, load, scorer.pictures, "features (CLIP)")
    for setting_id, frame in cells.groupby("setting_id", sort=False):
        if isinstance(scorer, str):
            missing = Score(None, n_expected=len(frame), reason=scorer, ranked=False)
            yield str(setting_id), identity({"unscored": scorer}), dict.fromkeys(CLIP_KINDS, missing)
        else:
            yield str(setting_id), scorer.id, _score_once(store, scorer, frame)


@dataclass(frozen=True)
class _Scorer:
    """A CLIP that is opened when a vector is missing; what the store holds needs its id alone."""

    id: str
    open: Callable[[], ClipScorer]

    @cached_property
    def clip(self) -> ClipScorer:
        """The network, opened by the first to ask."""
        return self.open()

    def pictures(self, pictures: Iterator[Picture]) -> Features:
        """Vectors of pictures, one a row."""
        return self.clip.embed_pictures(pictures)

    def texts(self, texts: Iterator[str]) -> Features:
        """Vectors of texts, one a row."""
        return self.clip.embed_texts(list(texts))


def _open(model: tuple[str, str] | None) -> _Scorer | str:
    if model is None:
        return "not asked for: give --clip-model"

    def open_now() -> ClipScorer:
        from eval.clip_score import open_clip_scorer

        return open_clip_scorer(*model)

    try:
        weights = weights_file(*model)
        if weights is not None:
            return _Scorer(clip_id(*model, weights), open_now)
        opened = open_now()
    except WeightsMissing as error:
        return str(error)
    return _Scorer(opened.id, lambda: opened)


def _score_once(store: Store, scorer: _Scorer, frame: pd.DataFrame) -> dict[str, Score]:
    """The scores of these pictures with these prompts, from the store where it holds them."""
    held = frame["sha256"].isin(_held(store, scorer.id))  # a picture that is gone may come back
    columns = ["prompt_id", "status", "sha256", "txt", "capt", "prompt"]
    rows = frame[columns].assign(held=held).to_json(orient="values")
    spec = {"clip": scorer.id, "measures": MEASURES_VERSION}
    _, scores = measured(store, identity(rows), spec, lambda: _score(store, scorer, frame))
    return scores


def _score(store: Store, scorer: _Scorer, frame: pd.DataFrame) -> dict[str, Score]:
    scores: dict[str, Score] = {}
    floor: float | None = None
    for kind in CLIP_KINDS:
        asked = zip(frame["txt"], frame["capt"], frame["prompt"], strict=True)
        prompts = [_prompt(kind, txt, capt, prompt) for txt, capt, prompt in asked]
        scores[kind], around = _score_kind(store, scorer, frame, prompts)
        floor = around if kind == "clip_desc" else floor
    description = scores["clip_desc"]
    if description.value is not None and floor is not None:
        scores["clip_floor"] = replace(description, value=floor, low=None, high=None)
    return scores


def _prompt(kind: ClipKind, txt: str, capt: str | None, prompt: str | None) -> str | None:
    # DuckDB's NULL comes out of pandas as NaN or None.
    return clip_prompts(txt, None if pd.isna(capt) else capt, None if pd.isna(prompt) else prompt)[kind]


def _score_kind(
    store: Store, scorer: _Scorer, frame: pd.DataFrame, prompts: Sequence[str | None]
) -> tuple[Score, float | None]:
    """Mean agreement over pictures that have such a prompt, missing ones as 0; and agreement by chance."""
    asked = frame.assign(prompt=pd.Series(prompts, index=frame.index, dtype=object)).dropna(subset="prompt")
    if asked.empty:
        return Score(None, reason="no prompt of this suite has one", ranked=False), None
    # A picture can be gone since it was made, and then it has no features: rows go by hash, not by position.
    has_features = (asked["status"] == "done") & asked["sha256"].isin(_held(store, scorer.id))
    made = asked[has_features]
    pictures: Features = load_features(store, scorer.id, list(made["sha256"]))
    texts = _embed_texts(store, scorer, list(made["prompt"])) if len(made) else pictures
    values = np.zeros(len(asked))
    if len(made):
        values[has_features.to_numpy()] = agreement(pictures, texts)
    codes, names = pd.factorize(asked["prompt_id"])
    sums = cluster_sums(values, codes.astype(np.int64), len(names))
    counts = cluster_sums(np.ones(len(values)), codes.astype(np.int64), len(names))
    interval = ratio_interval(sums, counts, bootstrap_weights(len(names)))
    low, high = interval if interval is not None else (None, None)
    remark = _remark(scorer, list(dict.fromkeys(asked["prompt"])))
    score = Score(float(values.mean()), low, high, len(made), len(asked), remark)
    return score, shuffled_floor(pictures, texts, list(made["prompt"])) if len(made) else None


def _remark(scorer: _Scorer, prompts: Sequence[str]) -> str:
    """Which CLIP a score comes from: towers differ by more than models do."""
    n_cut = scorer.clip.count_truncated(prompts)
    cut = f"; {n_cut} of {len(prompts)} texts are cut at {scorer.clip.context_length} tokens" if n_cut else ""
    return f"scored by {scorer.id}{cut}"


def _embed_texts(store: Store, scorer: _Scorer, texts: Sequence[str]) -> Features:
    """Vectors of texts, one a row; each text is embedded once and kept by its hash, as pictures are."""
    by_key = {hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(): text for text in texts}
    extractor = f"{scorer.id}/text"
    keep_features(store, extractor, sorted(by_key), by_key.get, scorer.texts, "features of texts (CLIP)")
    keys = {text: key for key, text in by_key.items()}
    return load_features(store, extractor, [keys[text] for text in texts])


def _held(store: Store, extractor_id: str) -> set[str]:
    """Hashes of the pictures that have features."""
    rows = store.rows("SELECT sha256 FROM features WHERE extractor_id = ?", [extractor_id])
    return {sha256 for (sha256,) in rows}
