"""What stands in the store about pictures: counts per picture, and how many there are of which kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eval.store.store import Store

if TYPE_CHECKING:
    import pandas as pd  # half a second, for those who ask for a frame

__all__ = ["Counts", "count_pictures", "load_counts"]


@dataclass(frozen=True, slots=True)
class Counts:
    """Pictures expected, made, made without the text that was asked for, failed or missing, and unread.

    An unread picture was made, but the reader broke down on it: it counts as worst until it is read.
    """

    expected: int
    done: int
    no_text: int
    failed: int
    unread: int


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
    """Counts over these settings; no text: nothing was read where text was asked for."""
    [(expected, done)] = store.rows(
        """SELECT count(*), count(*) FILTER (status = 'done') FROM samples
           WHERE setting_id IN (SELECT unnest(?))""",
        [list(setting_ids)],
    )
    [(no_text,)] = store.rows(
        """SELECT count(*) FROM text_scores
           WHERE protocol_id = ? AND setting_id IN (SELECT unnest(?)) AND reading = '' AND n_target > 0""",
        [protocol_id, list(setting_ids)],
    )
    [(unread,)] = store.rows(
        """SELECT count(*) FROM samples JOIN text_scores USING (setting_id, prompt_id, seed)
           WHERE protocol_id = ? AND setting_id IN (SELECT unnest(?))
             AND status = 'done' AND reading IS NULL""",
        [protocol_id, list(setting_ids)],
    )
    return Counts(expected, done, no_text, expected - done, unread)
