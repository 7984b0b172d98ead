"""Who makes the pictures. A new kind of generator is one class with `batch_size` and `make`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from datatools.errors import InputError, in_words
from datatools.ocr import Polygon
from eval.suites import Cell
from eval.sweep import Setting

__all__ = ["Generator", "Made", "make_batch"]


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a cell: a picture, (H, W, 3) uint8, or None and the cause."""

    cell: Cell
    picture: npt.NDArray[np.uint8] | None
    cause: str | None = None
    seconds: float | None = None
    """Time for this picture: that of its batch, shared out evenly."""
    n_evaluations: float | None = None
    """How often a network was called for it, over all stages."""
    device: str | None = None
    """What the networks ran on, which is what `seconds` are of; None where nobody knows."""
    regions: tuple[Polygon, ...] | None = None
    """Where each line of its text stands, in its pixels; None where nobody knows (`--mode box` needs it)."""
    detail: str | None = None
    """What more is known of the cause; it is shown, not kept."""


class Generator(Protocol):
    """Makes the pictures of a setting. The picture of a cell depends on the setting and the cell alone."""

    @property
    def batch_size(self) -> int:
        """How many pictures it makes together."""
        ...

    def make(self, setting: Setting, cells: Sequence[Cell]) -> list[Made]:
        """What became of each cell of a batch, in order. Whatever it raises belongs to the batch."""
        ...


def make_batch(generator: Generator, setting: Setting, cells: Sequence[Cell]) -> list[Made]:
    """What became of a batch, whatever the generator raises.

    The cells of a batch that raised are tried again one by one; one that raises alone has failed.

    Raises:
        InputError: the setting cannot be made at all.
    """
    try:
        return generator.make(setting, cells)
    except InputError:
        raise
    except Exception as error:  # torch, a device or somebody's pipeline
        if len(cells) == 1:
            return [Made(cells[0], None, "crashed", detail=in_words(error))]
    return [made for cell in cells for made in make_batch(generator, setting, [cell])]
