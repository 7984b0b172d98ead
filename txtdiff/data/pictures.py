"""The pictures of a run, wherever they come from."""

from __future__ import annotations

from torch.utils.data import Dataset

from txtdiff.data.batch import conditions_of
from txtdiff.data.config import DataConfig
from txtdiff.data.dataset import PictureDataset, Sample
from txtdiff.data.source import Rows, read_rows
from txtdiff.data.synthetic import SyntheticPictures
from txtdiff.model.config import ModelConfig

__all__ = ["open_pictures", "rows_for"]


def rows_for(data: DataConfig, model: ModelConfig) -> Rows | None:
    """What is known of the pictures that a model is trained on; None: they are made as they are needed."""
    if data.synth is not None:
        return None
    return read_rows(data, "unused" if model.text is None else "needed", model.n_classes)


def open_pictures(rows: Rows | None, data: DataConfig, model: ModelConfig, seed: int) -> Dataset[Sample]:
    """The sample at every position of the endless training sequence.

    Args:
        rows: from `rows_for`.
        data: how they are cut and what is withheld.
        model: what takes them.
        seed: the run's.
    """
    size_px, uses_text = model.image_size_px, model.text is not None
    if rows is None:
        assert data.synth is not None
        map_size_px = conditions_of(model).map_size_px
        return SyntheticPictures(
            data.synth, data, resolution_px=size_px, seed=seed, uses_text=uses_text, map_size_px=map_size_px
        )
    return PictureDataset(
        rows, data, resolution_px=size_px, seed=seed, uses_text=uses_text, n_classes=model.n_classes
    )
