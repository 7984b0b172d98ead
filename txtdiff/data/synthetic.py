"""Training pictures made as they are needed: `datatools synth` without a folder in between."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch.utils.data import Dataset

from datatools.synth import SynthOptions, SynthPicture, make_picture
from txtdiff.data.config import DataConfig, SynthConfig
from txtdiff.data.crop import Box
from txtdiff.data.dataset import Sample, choose_conditions
from txtdiff.data.order import numpy_generator
from txtdiff.data.picture import Surroundings, cut_picture, plan_cut
from txtdiff.data.tokenizer import VOCABULARY

__all__ = ["SyntheticPictures", "character_map"]


class SyntheticPictures(Dataset[Sample]):
    """Picture number p of `config.synth` at position p: none is ever seen twice.

    Args:
        synth: which pictures.
        config: crops, flips, and what of their text and captions is withheld how often.
        resolution_px: edge of the model's pictures.
        seed: the run's.
        uses_text: whether the model is told the transcription, as for `PictureDataset`.
        map_size_px: edge of the map that says which character stands where; None: no map is wanted.
    """

    def __init__(
        self,
        synth: SynthConfig,
        config: DataConfig,
        *,
        resolution_px: int,
        seed: int,
        uses_text: bool,
        map_size_px: int | None = None,
    ) -> None:
        self._drawn_px = synth.drawn_px or resolution_px
        self._starts = [first for first, _ in synth.curriculum]
        self._options = [
            SynthOptions(size_px=self._drawn_px, seed=synth.seed, profile=profile, split=synth.split)
            for _, profile in synth.curriculum
        ]
        self._config = config
        self._resolution_px = resolution_px
        self._seed = seed
        self._uses_text = uses_text
        self._map_size_px = map_size_px

    def __getitem__(self, position: int) -> Sample:
        picture = make_picture(self._options[bisect_right(self._starts, position) - 1], position)
        rng = numpy_generator(self._seed, "item", position)
        txt, capt = choose_conditions(picture.text, picture.captions, self._config, rng)
        has_text = self._uses_text and bool(picture.text)
        around = Surroundings(has_text, Box(*picture.safebox) if has_text and picture.safebox else None)
        size_px = (self._drawn_px, self._drawn_px)
        cut = plan_cut(size_px, around, self._config, resolution_px=self._resolution_px, rng=rng)
        pixels = cut_picture(picture.image, cut, self._resolution_px)
        characters = None
        if self._map_size_px is not None and txt == picture.text:
            characters = character_map(picture, cut.crop or Box(0, 0, *size_px), self._map_size_px)
        return Sample(position, pixels, txt, capt, characters=characters)


def character_map(picture: SynthPicture, square: Box, map_size_px: int) -> NDArray[np.int64]:
    """The token of the character that covers the middle of each cell, 0 for none.

    Args:
        picture: with the places of its characters.
        square: the part of it that the map shows.
        map_size_px: cells along an edge, M.

    Returns:
        (M, M) ids of the built-in vocabulary.
    """
    scale = map_size_px / square.width
    cells = Image.new("I", (map_size_px, map_size_px))
    draw = ImageDraw.Draw(cells)
    for line in picture.lines:
        for character, corners in zip(line.text, line.characters, strict=True):
            token = VOCABULARY.get(character, 0)
            # Cell (0, 0) has its middle at half a cell; Pillow counts middles as whole numbers.
            cells_xy = [((x - square.left) * scale - 0.5, (y - square.top) * scale - 0.5) for x, y in corners]
            draw.polygon(cells_xy, fill=token)
    return np.asarray(cells, np.int64)
