"""Scores that follow from pictures alone, kept by content: the same pictures are never measured twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from eval.identity import canonical_json, identity
from eval.metrics.score import Score
from eval.store.store import Store

__all__ = ["measured"]


def measured(
    store: Store, content_id: str, spec: Mapping[str, Any], compute: Callable[[], dict[str, Score]]
) -> tuple[str, dict[str, Score]]:
    """The protocol's id and the scores, from the store when it holds them, else computed and kept there.

    Args:
        content_id: hash of the pictures.
        spec: the protocol: everything else that the scores depend on.
    """
    protocol_id = identity(spec)
    key = {"content_id": content_id, "protocol_id": protocol_id}
    kept = store.rows(
        "SELECT scores FROM measured WHERE content_id = $1 AND protocol_id = $2", [content_id, protocol_id]
    )
    if kept:
        return protocol_id, {metric: Score(**score) for metric, score in json.loads(kept[0][0]).items()}
    scores = compute()
    packed = json.dumps({metric: asdict(score) for metric, score in scores.items()})
    store.write("measured", [key | {"spec": canonical_json(dict(spec)), "scores": packed}])
    return protocol_id, scores
