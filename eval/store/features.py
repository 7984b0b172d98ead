"""Features of pictures and texts, computed once per content and network and kept in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from datatools.console import progress
from eval.store.store import Store

__all__ = ["Features", "keep_features", "load_features"]

Features = npt.NDArray[np.float32]
Thing = TypeVar("Thing")

_CHUNK = 128  # pictures between two commits


def keep_features(
    store: Store,
    extractor_id: str,
    keys: Sequence[str],
    load: Callable[[str], Thing | None],
    extract: Callable[[Iterator[Thing]], Features],
    what: str,
) -> None:
    """Compute the features that the store does not hold.

    Args:
        extractor_id: network, weights and preparation: with the content's hash, the key of a vector.
        keys: sha256 of the pictures or texts.
        load: what a key stands for, None when it cannot be had; it is left out then.
        extract: pictures or texts -> (n, width) features.
        what: label of the progress bar.
    """
    held = {
        key for (key,) in store.rows("SELECT sha256 FROM features WHERE extractor_id = ?", [extractor_id])
    }
    missing = [key for key in dict.fromkeys(keys) if key not in held]
    if not missing:
        return
    with progress(what, len(missing)) as advance:
        for start in range(0, len(missing), _CHUNK):
            chunk = missing[start : start + _CHUNK]
            found = {key: thing for key in chunk if (thing := load(key)) is not None}
            vectors = extract(iter(found.values())) if found else ()
            rows = [
                {"sha256": key, "extractor_id": extractor_id, "vector": vector.astype("<f4").tobytes()}
                for key, vector in zip(found, vectors, strict=True)
            ]
            store.write("features", rows)
            advance(len(chunk))


def load_features(store: Store, extractor_id: str, keys: Sequence[str]) -> Features:
    """Features of these pictures, one row for each key that has any, in the order of the keys."""
    rows = store.rows(
        "SELECT sha256, vector FROM features WHERE extractor_id = ? AND sha256 IN (SELECT unnest(?))",
        [extractor_id, list(dict.fromkeys(keys))],
    )
    vectors = {sha256: np.frombuffer(vector, dtype="<f4") for sha256, vector in rows}
    found = [vectors[key] for key in keys if key in vectors]
    return np.stack(found) if found else np.empty((0, 0), np.float32)
