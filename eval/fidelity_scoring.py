"""FID and KID of a setting's pictures against a catalog's, and when they may order rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datatools.console import messages
from datatools.errors import InputError
from eval.board import Score
from eval.feature_store import Features, keep_features, load_features
from eval.fidelity import (
    FID_MIN_PICTURES,
    extract_features,
    extractor_id,
    frechet_distance,
    kernel_distance,
    open_inception,
)
from eval.identity import identity
from eval.inception import Inception
from eval.reading import find_picture
from eval.reference import Reference, load_reference_picture, open_reference
from eval.store import Store

__all__ = ["FIDELITY_METRICS", "KID_MIN_PICTURES", "score_fidelity", "unscored_fidelity"]

FIDELITY_METRICS = ("fid_clean", "kid")

KID_MIN_PICTURES = 250
"""KID is unbiased at any n; below this its standard error is as large as what settings differ by."""


@dataclass(frozen=True, slots=True)
class _Pictures:
    """A setting's pictures: their hashes, how many there should be, their edge, and what to compare with."""

    keys: Sequence[str]
    n_expected: int
    size_px: int | None
    reference: str | None


def score_fidelity(store: Store, setting_ids: Sequence[str]) -> Iterator[tuple[str, str, dict[str, Score]]]:
    """FID and KID: (setting, protocol id, scores) of each setting.

    The protocol id covers network, preparation, reference pictures and their size.
    """
    network: Inception | InputError
    try:
        network = open_inception()
    except InputError as error:
        network = error
    settings = {setting_id: _pictures(store, setting_id) for setting_id in setting_ids}
    if isinstance(network, Inception):
        _keep_features(store, network, settings.values())
    for setting_id, pictures in settings.items():
        try:
            yield setting_id, *_score_setting(store, network, pictures)
        except InputError as error:
            reason = f"{error.what}. {error.remedy or ''}".strip()
            yield setting_id, *unscored_fidelity(reason, pictures.n_expected)


def _score_setting(
    store: Store, network: Inception | InputError, pictures: _Pictures
) -> tuple[str, dict[str, Score]]:
    if pictures.reference is None:
        return unscored_fidelity("no reference pictures: give --reference CATALOG", pictures.n_expected)
    if pictures.size_px is None:
        return unscored_fidelity("no picture was made, or they differ in size", pictures.n_expected)
    if isinstance(network, InputError):
        raise network
    ours = load_features(store, extractor_id(network, "clean"), pictures.keys)
    catalog = open_reference(Path(json.loads(pictures.reference)["catalog"]))
    real, spec = _reference_features(store, network, catalog, pictures.size_px)
    return identity(spec), _scores(ours, real, pictures.n_expected)


def unscored_fidelity(reason: str, n_expected: int) -> tuple[str, dict[str, Score]]:
    """Scores without values, all for the same reason."""
    missing = Score(None, n_expected=n_expected, reason=reason, ranked=False)
    return identity({"unscored": reason}), dict.fromkeys(FIDELITY_METRICS, missing)


def _pictures(store: Store, setting_id: str) -> _Pictures:
    rows = store.rows(
        """SELECT sha256, width_px, height_px, status FROM samples WHERE setting_id = ?
           ORDER BY prompt_id, seed""",
        [setting_id],
    )
    done = [row for row in rows if row[3] == "done"]
    sizes = {min(width, height) for _, width, height, _ in done}
    [(reference,)] = store.rows("SELECT reference FROM settings WHERE setting_id = ?", [setting_id])
    size_px = sizes.pop() if len(sizes) == 1 else None
    return _Pictures([row[0] for row in done], len(rows), size_px, reference)


def _keep_features(store: Store, network: Inception, settings: Iterable[_Pictures]) -> None:
    """Features of every picture that will be compared, all settings under one bar."""
    compared = [s.keys for s in settings if s.reference is not None and s.size_px is not None]
    keep_features(
        store,
        extractor_id(network, "clean"),
        list(chain.from_iterable(compared)),
        partial(find_picture, store),
        partial(_extract, network),
        "features (Inception)",
    )


def _reference_features(
    store: Store, network: Inception, reference: Reference, size_px: int
) -> tuple[Features, Mapping[str, Any]]:
    # The same pictures at another size are other pictures: the size is part of the key.
    extractor = f"{extractor_id(network, 'clean')}/fit-{size_px}"
    uris = dict(reference.pictures)
    keep_features(
        store,
        extractor,
        list(uris),
        lambda sha256: load_reference_picture(uris[sha256], size_px, reference.limits),
        partial(_extract, network),
        "features of the reference",
    )
    real = load_features(store, extractor, list(uris))
    if len(real) < len(uris):
        messages.print(f"{len(uris) - len(real)} reference pictures are gone and left out")
    return real, {"extractor": extractor, "reference": reference.digest, "n_reference": len(real)}


def _extract(network: Inception, pictures: Iterator[npt.NDArray[np.uint8]]) -> Features:
    return extract_features(pictures, "clean", network=network)


def _scores(ours: Features, real: Features, n_expected: int) -> dict[str, Score]:
    n, n_real = len(ours), len(real)
    if min(n, n_real) < 2:
        return unscored_fidelity(f"{n} pictures against {n_real}: at least 2 are needed", n_expected)[1]
    kid = kernel_distance(ours, real)
    mean, spread = 1000 * kid.mean, 1.96 * 1000 * kid.standard_error
    return {
        "fid_clean": _with_n(
            Score(frechet_distance(ours, real), n=n, n_expected=n_expected), n_real, FID_MIN_PICTURES
        ),
        "kid": _with_n(Score(mean, mean - spread, mean + spread, n, n_expected), n_real, KID_MIN_PICTURES),
    }


def _with_n(score: Score, n_real: int, n_needed: int) -> Score:
    """Shown, but not ranked, where too few pictures make the value mostly bias or mostly noise."""
    reason = None
    if min(score.n, n_real) < n_needed:
        reason = f"n = {score.n} against {n_real} pictures; orders rows from {n_needed} on both sides"
    elif score.n < score.n_expected:
        reason = f"{score.n_expected - score.n} of {score.n_expected} pictures are missing"
    return Score(score.value, score.low, score.high, score.n, score.n_expected, reason, reason is None)
