"""EM apart for texts whose words a model has all seen in training, and for texts with a word it has not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from datatools.console import messages
from datatools.errors import InputError
from eval.identity import identity
from eval.metrics.registry import HEADLINE
from eval.metrics.score import Score
from eval.statistics import bootstrap_weights, mean_interval
from eval.store import Store
from eval.text_metrics.normalisers import words

if TYPE_CHECKING:
    import pandas as pd

    from txtdiff.data.config import DataConfig

__all__ = [
    "Vocabulary",
    "keep_seen_words",
    "load_seen",
    "read_vocabularies",
    "read_vocabulary",
    "seen_scores",
    "vocabulary_ids",
]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words of the texts that a model was trained on, as `words` takes texts apart under `alnum`."""

    source: str
    """Name of the catalog."""
    words: frozenset[str]

    @property
    def id(self) -> str:
        """Hash of the words."""
        return identity(sorted(self.words))


def read_vocabulary(data: DataConfig) -> Vocabulary:
    """The words of the pictures that a training with these settings reads, its filters included.

    Raises:
        InputError: the catalog is not there any more, or holds no text.
    """
    from txtdiff.data.source import read_rows  # reports need not wait for what a training reads with

    texts = read_rows(data, "needed").texts
    found = frozenset(word for text in texts for word in words(text, "alnum"))
    if not found:
        raise InputError(f"the catalog {data.catalog} holds no word")
    return Vocabulary(str(data.catalog), found)


def read_vocabularies(trained_on: Mapping[str, DataConfig]) -> dict[str, Vocabulary]:
    """The words that each setting's model was trained on, every catalog read once.

    A catalog that cannot be read any more costs the split, not the scores: the reason is told.

    Args:
        trained_on: what the model of each setting was trained on, by setting.
    """
    read = {data.model_dump_json(): data for data in trained_on.values()}
    known = {key: _read_or_tell(data) for key, data in read.items()}
    found = {setting_id: known[data.model_dump_json()] for setting_id, data in trained_on.items()}
    return {setting_id: vocabulary for setting_id, vocabulary in found.items() if vocabulary is not None}


def keep_seen_words(store: Store, setting_id: str, vocabulary: Vocabulary) -> None:
    """Count for every prompt of a setting how many of its words stood in the training texts."""
    prompts = store.rows(
        """SELECT prompt_id, txt FROM prompts JOIN settings USING (suite_id) WHERE setting_id = ?""",
        [setting_id],
    )
    about = {"setting_id": setting_id, "vocabulary_id": vocabulary.id, "catalog": vocabulary.source}
    rows: list[dict[str, Any]] = []
    for prompt_id, txt in prompts:
        asked = words(txt, "alnum")
        n_seen = sum(word in vocabulary.words for word in asked)
        rows.append(about | {"prompt_id": prompt_id, "n_words": len(asked), "n_seen": n_seen})
    store.write("seen_words", rows)


def load_seen(store: Store, setting_ids: Sequence[str]) -> pd.DataFrame:
    """Prompts with their setting and whether all their words were seen; those without a word are left out."""
    return store.frame(
        """SELECT setting_id, prompt_id, n_seen = n_words AS is_seen, catalog, vocabulary_id FROM seen_words
           WHERE n_words > 0 AND setting_id IN (SELECT unnest(?))""",
        [list(setting_ids)],
    )


def seen_scores(counts: pd.DataFrame, seen: pd.DataFrame) -> dict[str, Score]:
    """EM of texts with seen words alone, of the others, and the difference; nothing where nobody knows.

    Args:
        counts: rows of `text_scores` of one setting and protocol.
        seen: the setting's rows of `load_seen`.
    """
    if seen.empty:
        return {}
    frame = counts.merge(seen[["prompt_id", "is_seen"]], on="prompt_id")
    remark = f"by the words of {seen['catalog'].iloc[0]}"
    em_seen, em_unseen = (_em(frame[frame["is_seen"] == is_seen], remark) for is_seen in (True, False))
    return {"em_seen": em_seen, "em_unseen": em_unseen, "unseen_gap": _gap(em_seen, em_unseen)}


def vocabulary_ids(store: Store) -> dict[str, str]:
    """The vocabulary by which the texts of each setting were told apart."""
    tables = store.rows("SELECT table_name FROM duckdb_tables() WHERE table_name = 'seen_words'")
    if not tables:  # written before there was one
        return {}
    return dict(store.rows("SELECT DISTINCT setting_id, vocabulary_id FROM seen_words"))


def _read_or_tell(data: DataConfig) -> Vocabulary | None:
    try:
        return read_vocabulary(data)
    except InputError as error:
        messages.print(
            f"seen and unseen words are not told apart: {error.what}. Name the training catalog by "
            "--seen-words CATALOG.",
            markup=False,
            soft_wrap=True,
        )
        return None


def _em(frame: pd.DataFrame, remark: str) -> Score:
    if frame.empty:
        return Score(None, reason="no text of this suite is of that kind", ranked=False)
    import pandas as pd

    prompts, names = pd.factorize(frame["prompt_id"], sort=True)
    right = frame[HEADLINE].to_numpy(float)
    interval = mean_interval(right, prompts.astype(np.int64), bootstrap_weights(len(names)))
    low, high = interval if interval is not None else (None, None)
    n = int(frame["reading"].notna().sum())
    return Score(float(right.mean()), low, high, n, len(frame), remark)


def _gap(seen: Score, unseen: Score) -> Score:
    """Difference of two independent means, its interval from theirs (Zou and Donner 2008, eq. 3)."""
    if seen.value is None or unseen.value is None:
        return Score(None, reason="needs texts of both kinds", ranked=False)
    gap = seen.value - unseen.value
    n, n_expected = seen.n + unseen.n, seen.n_expected + unseen.n_expected
    if seen.low is None or seen.high is None or unseen.low is None or unseen.high is None:
        return Score(gap, n=n, n_expected=n_expected, reason=seen.reason)
    low = gap - np.hypot(seen.value - seen.low, unseen.high - unseen.value)
    high = gap + np.hypot(seen.high - seen.value, unseen.value - unseen.low)
    return Score(gap, float(low), float(high), n, n_expected, seen.reason)
