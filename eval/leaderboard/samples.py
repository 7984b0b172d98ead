"""The pictures a report shows: the same prompts for every setting, chosen fairly over kinds of text."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from eval.leaderboard.board import BoardSample
from eval.reading.pictures import lines_from_json
from eval.store import Store

__all__ = ["load_samples"]

_SAMPLES = """
    SELECT s.setting_id, s.prompt_id, s.seed, p.stratum, p.txt, p.capt, t.reading, r.lines, s.sha256,
           s.width_px, s.height_px, t.em_ci, t.n_edits / greatest(t.n_target, 1) AS cer
    FROM samples s
    JOIN settings USING (setting_id)
    JOIN prompts p ON p.suite_id = settings.suite_id AND p.prompt_id = s.prompt_id
    JOIN text_scores t ON t.setting_id = s.setting_id AND t.prompt_id = s.prompt_id AND t.seed = s.seed
        AND t.protocol_id = $protocol
    LEFT JOIN readings r ON r.sha256 = s.sha256 AND r.reader_id = $reader
        AND r.region_id = if($mode = 'box', s.region_id, '')
    WHERE s.status = 'done' AND s.setting_id IN (SELECT unnest($settings))
    ORDER BY p.position, s.seed, settings.position
"""


def load_samples(
    store: Store,
    setting_ids: Sequence[str],
    protocol_id: str,
    protocol: Mapping[str, Any],
    max_pictures: int,
) -> list[BoardSample]:
    """At most `max_pictures` samples of these settings with their pictures, in the order of the suite.

    A suite alternates kinds of text, so its beginning is a fair mix, and the same for every setting.
    """
    frame = store.frame(
        _SAMPLES,
        {
            "settings": list(setting_ids),
            "protocol": protocol_id,
            "reader": protocol["reader"],
            "mode": protocol["mode"],
        },
    )
    n_rows = max(1, frame["setting_id"].nunique())
    cells = frame[["prompt_id", "seed"]].drop_duplicates().head(max(1, max_pictures // n_rows))
    chosen = frame.merge(cells, on=["prompt_id", "seed"])
    return [_sample(store, row) for row in chosen.to_dict("records")]


def _sample(store: Store, row: Mapping[Hashable, Any]) -> BoardSample:
    path = store.picture_path(row["sha256"])
    return BoardSample(
        setting_id=row["setting_id"],
        prompt_id=row["prompt_id"],
        seed=int(row["seed"]),
        stratum=row["stratum"],
        txt=row["txt"],
        capt=None if pd.isna(row["capt"]) else row["capt"],
        reading="" if pd.isna(row["reading"]) else row["reading"],
        lines=lines_from_json(None if pd.isna(row["lines"]) else row["lines"]),
        png=path.read_bytes() if path.is_file() else b"",
        width_px=int(row["width_px"]),
        height_px=int(row["height_px"]),
        em_ci=bool(row["em_ci"]),
        cer=float(row["cer"]),
    )
