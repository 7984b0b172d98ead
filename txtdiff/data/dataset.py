"""Positions in, pictures out: what a data loader's worker does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from datatools.console import plain
from datatools.decode import Cause, Rejection, decode, read_size_px
from datatools.errors import InputError
from datatools.files.sources import fetch
from txtdiff.data.config import DataConfig
from txtdiff.data.order import index_at, numpy_generator
from txtdiff.data.picture import Surroundings, cut_picture, plan_cut
from txtdiff.data.source import Row, Rows
from txtdiff.data.tokenizer import DROP_TEXT, NULL_CAPTION

__all__ = ["PictureDataset", "Sample", "choose_conditions"]

_MAX_REPLACEMENTS = 20


@dataclass(frozen=True, slots=True)
class Sample:
    """One training picture."""

    position: int
    pixels: NDArray[np.uint8]
    """(R, R, 3), RGB."""
    txt: str
    """Transcription, or DROP_TEXT where it is withheld."""
    capt: str
    """Caption, or NULL_CAPTION where there is none or it is withheld."""
    label: int | None = None
    """Class, the last one where it is withheld; None: the model has no classes."""
    failures: tuple[tuple[str, str], ...] = ()
    """(key, cause) of pictures that stood at this position and could not be read."""
    characters: NDArray[np.int64] | None = None
    """(M, M): the token of the character in each cell of the picture, 0 for none; None: not known."""


class PictureDataset(Dataset[Sample]):
    """The sample at every position of the endless training sequence; a function of (seed, position).

    Args:
        rows: the pictures.
        config: crops, flips, drops.
        resolution_px: edge of the model's pictures.
        seed: the run's.
        uses_text: whether the model is told the transcription. If not, no picture counts as having text, so
            nothing protects it from flips and crops.
        n_classes: classes of the model, the last of which stands for a class withheld; None: it has none.
    """

    def __init__(
        self,
        rows: Rows,
        config: DataConfig,
        *,
        resolution_px: int,
        seed: int,
        uses_text: bool,
        n_classes: int | None = None,
    ) -> None:
        self._rows = rows
        self._config = config
        self._resolution_px = resolution_px
        self._seed = seed
        self._uses_text = uses_text
        self._n_classes = n_classes

    def __getitem__(self, position: int) -> Sample:
        failures: list[tuple[str, str]] = []
        rng = numpy_generator(self._seed, "item", position)
        index = index_at(position, len(self._rows), self._seed)
        for _ in range(_MAX_REPLACEMENTS):
            row = self._rows[index]
            try:
                data = _fetched(row.uri)
                size_px = read_size_px(data, self._rows.limits)
                txt, capt = choose_conditions(row.text or "", row.captions, self._config, rng)
                label = self._label(row, rng)
                pixels = self._pixels(data, size_px, row, rng)
            except Rejection as error:
                # A file that is gone or spoilt since the catalog was made must not end a long run. Another
                # one stands in, and the trainer counts what failed.
                failures.append((row.key, error.cause))
                index = int(rng.integers(len(self._rows)))
                continue
            return Sample(position, pixels, txt, capt, label, tuple(failures))
        raise InputError(
            f"{_MAX_REPLACEMENTS} pictures in a row cannot be read, the last one {plain(failures[-1][0])} "
            f"({failures[-1][1]})",
            "Have they moved since the catalog was made? Build it again.",
        )

    def _pixels(
        self, data: bytes, size_px: tuple[int, int], row: Row, rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        config, resolution_px = self._config, self._resolution_px
        cut = plan_cut(size_px, self._surroundings(row, rng), config, resolution_px=resolution_px, rng=rng)
        reduce = cut.edge_px / (2 * resolution_px) if config.jpeg_decoding == "reduced" else 1.0
        return cut_picture(decode(data, self._rows.limits, reduce), cut, resolution_px)

    def _label(self, row: Row, rng: np.random.Generator) -> int | None:
        if self._n_classes is None:
            return None
        return self._n_classes - 1 if rng.random() < self._config.drop_class else row.label

    def _surroundings(self, row: Row, rng: np.random.Generator) -> Surroundings:
        has_text = self._uses_text and bool(row.text)
        lender = self._rows.lender(rng.random()) if self._config.no_text.crop == "borrowed_safebox" else None
        return Surroundings(
            has_text=has_text,
            safebox=row.safebox if has_text else None,
            px_scale=row.px_scale,
            lender=None if lender is None or lender.safebox is None else (lender.safebox, lender.size_px),
        )


def choose_conditions(
    text: str, captions: Sequence[str], config: DataConfig, rng: np.random.Generator
) -> tuple[str, str]:
    """Text and a caption, each perhaps withheld. Empty text stays: it says that there is no text."""
    no_txt, no_capt, neither, which = rng.random(4)
    txt, capt = text, NULL_CAPTION
    if captions:
        capt = captions[int(which * len(captions))]
    if no_txt < config.drop_txt or neither < config.drop_all:
        txt = DROP_TEXT
    if no_capt < config.drop_capt or neither < config.drop_all:
        capt = NULL_CAPTION
    return txt, capt


def _fetched(uri: str) -> bytes:
    try:
        return fetch(uri)
    except Exception as error:  # remote stores raise types of their own
        cause: Cause = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        raise Rejection(cause) from error
