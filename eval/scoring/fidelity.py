"""Fidelity of settings' pictures to a catalog's, beside that of the catalog to itself; cached by content."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datatools.console import messages
from datatools.errors import InputError
from eval.identity import identity
from eval.metrics.score import Score
from eval.networks.inception_digest import extractor_id, inception_digest
from eval.networks.names import OtherNetworkName
from eval.reading.pictures import Picture, find_picture
from eval.scoring.fidelity_measures import (
    FIDELITY_METRICS,
    MEASURES_VERSION,
    distance_score,
    fidelity_scores,
    unscored,
)
from eval.scoring.measured import measured
from eval.scoring.reference import load_reference_picture, open_reference
from eval.store import Store
from eval.store.features import Features, keep_features, load_features
from eval.store.real_rows import RealPictures, real_features, write_real_row

if TYPE_CHECKING:
    from eval.networks.inception import Inception

__all__ = ["score_fidelity"]

Scored = tuple[str, str, dict[str, Score]]


@dataclass(frozen=True, slots=True)
class _Pictures:
    """A setting's pictures: their hashes, how many there should be, their edge, and what to compare with."""

    keys: Sequence[str]
    n_expected: int
    size_px: int | None
    reference: str | None

    @property
    def why_not(self) -> str | None:
        """Why they cannot be compared with anything."""
        if self.reference is None:
            return "no reference pictures: give --reference CATALOG"
        return "no picture was made, or they differ in size" if self.size_px is None else None


@dataclass(frozen=True, slots=True)
class _Measurer:
    """A network that turns pictures into features, and what is measured between two sets of them.

    The network is opened by `extract`: features that the store holds need its id alone.
    """

    id: str
    extract: Callable[[Iterator[Picture]], Features]
    measure: Callable[[Features, Features, int], dict[str, Score]]
    what: str


def score_fidelity(
    store: Store, setting_ids: Sequence[str], others: Sequence[OtherNetworkName] = ()
) -> Iterator[Scored]:
    """(setting, protocol id, scores) of each setting, and of real pictures against real ones at each n.

    The protocol id covers network, preparation, reference pictures, their size and the measures' version.

    Args:
        others: further networks over whose features the Fréchet distance is taken too.
    """
    settings = {setting_id: _pictures(store, setting_id) for setting_id in setting_ids}
    yield from _score_all(store, settings, FIDELITY_METRICS, _open_inception)
    for name in others:
        yield from _score_all(store, settings, (f"fd_{name}",), partial(_open_other, name))


def _score_all(
    store: Store,
    settings: Mapping[str, _Pictures],
    metrics: tuple[str, ...],
    open_measurer: Callable[[], _Measurer],
) -> Iterator[Scored]:
    compared = {key: pictures for key, pictures in settings.items() if pictures.why_not is None}
    for setting_id, pictures in settings.items():
        if pictures.why_not is not None:
            yield setting_id, *_none(metrics, pictures.why_not, pictures.n_expected)
    if compared:
        yield from _score_compared(store, compared, metrics, open_measurer)


def _score_compared(
    store: Store,
    settings: Mapping[str, _Pictures],
    metrics: tuple[str, ...],
    open_measurer: Callable[[], _Measurer],
) -> Iterator[Scored]:
    try:
        measurer = open_measurer()
        _keep_features(store, measurer, settings.values())
    except InputError as error:
        for setting_id, pictures in settings.items():
            yield setting_id, *_none(metrics, _told(error), pictures.n_expected)
        return
    references: dict[tuple[str, int], _Reference] = {}
    for setting_id, pictures in settings.items():
        try:
            yield setting_id, *_score_setting(store, measurer, pictures, references)
        except InputError as error:
            yield setting_id, *_none(metrics, _told(error), pictures.n_expected)
    yield from _score_real(store, measurer, metrics, settings, references)


def _open_inception() -> _Measurer:
    @cache
    def network() -> Inception:
        from eval.fidelity import open_inception

        return open_inception()

    def extract(pictures: Iterator[Picture]) -> Features:
        from eval.fidelity import extract_features

        return extract_features(pictures, "clean", network=network())

    digest = inception_digest() or network().digest
    return _Measurer(extractor_id(digest, "clean"), extract, fidelity_scores, "features (Inception)")


def _open_other(name: OtherNetworkName) -> _Measurer:
    from eval.fidelity import open_other_network

    network = open_other_network(name)

    def measure(ours: Features, real: Features, n_expected: int) -> dict[str, Score]:
        return {f"fd_{name}": distance_score(ours, real, n_expected)}

    return _Measurer(network.id, network.extract, measure, f"features ({name})")


@dataclass(frozen=True, slots=True)
class _Reference:
    """Features of real pictures, what the protocol says of them, and the numbers of pictures compared."""

    pictures: RealPictures
    spec: Mapping[str, Any]


def _score_setting(
    store: Store,
    measurer: _Measurer,
    pictures: _Pictures,
    references: dict[tuple[str, int], _Reference],
) -> tuple[str, dict[str, Score]]:
    key = str(pictures.reference), int(pictures.size_px or 0)
    if key not in references:
        references[key] = _load_reference(store, measurer, *key)
    reference = references[key]
    ours = load_features(store, measurer.id, pictures.keys)
    content = identity([list(pictures.keys), len(ours), pictures.n_expected])
    return measured(
        store,
        content,
        reference.spec,
        lambda: measurer.measure(ours, reference.pictures.features, pictures.n_expected),
    )


def _score_real(
    store: Store,
    measurer: _Measurer,
    metrics: tuple[str, ...],
    settings: Mapping[str, _Pictures],
    references: Mapping[tuple[str, int], _Reference],
) -> Iterator[Scored]:
    """The floor of every number of pictures that was compared: real ones against the other real ones."""
    for (named, size_px), reference in references.items():
        compared = [(key, p) for key, p in settings.items() if (p.reference, p.size_px) == (named, size_px)]
        for n in sorted({len(pictures.keys) for _, pictures in compared}):
            like = next(key for key, pictures in compared if len(pictures.keys) == n)
            row = write_real_row(store, like, reference.pictures, n)
            split = real_features(reference.pictures, n)
            if split is None:
                reason = f"{len(reference.pictures.features)} reference pictures; this row needs twice its n"
                yield row, *_none(metrics, reason, n)
            else:
                yield row, *measured(store, row, reference.spec, partial(measurer.measure, *split, n))


def _none(metrics: tuple[str, ...], reason: str, n_expected: int) -> tuple[str, dict[str, Score]]:
    return identity({"unscored": reason}), unscored(metrics, reason, n_expected)


def _told(error: InputError) -> str:
    return f"{error.what}. {error.remedy or ''}".strip()


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


def _keep_features(store: Store, measurer: _Measurer, settings: Iterable[_Pictures]) -> None:
    """Features of every picture that will be compared, all settings under one bar."""
    keys = list(chain.from_iterable(pictures.keys for pictures in settings))
    keep_features(store, measurer.id, keys, partial(find_picture, store), measurer.extract, measurer.what)


def _load_reference(store: Store, measurer: _Measurer, named: str, size_px: int) -> _Reference:
    reference = open_reference(Path(json.loads(named)["catalog"]))
    # The same pictures at another size are other pictures: the size is part of the key.
    extractor = f"{measurer.id}/fit-{size_px}"
    uris = dict(reference.pictures)

    def load(sha256: str) -> Picture | None:
        return load_reference_picture(uris[sha256], size_px, reference.limits)

    keep_features(store, extractor, list(uris), load, measurer.extract, f"{measurer.what} of the reference")
    real = load_features(store, extractor, list(uris))
    if len(real) < len(uris):
        messages.print(f"{len(uris) - len(real)} reference pictures are gone and left out")
    spec = {"extractor": extractor, "reference": reference.digest, "n_reference": len(real)}
    return _Reference(
        RealPictures(real, reference.digest, size_px, named), spec | {"measures": MEASURES_VERSION}
    )
