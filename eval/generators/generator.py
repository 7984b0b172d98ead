"""Who makes the pictures. A new kind of generator is one class with `make`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from datatools.ocr import Polygon
from eval.suites import Cell
from eval.sweep import Setting

__all__ = ["Generator", "Made"]


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
    regions: tuple[Polygon, ...] | None = None
    """Where each line of its text stands, in its pixels; None where nobody knows (`--mode box` needs it)."""
    detail: str | None = None
    """What more is known of the cause; it is shown, not kept."""


class Generator(Protocol):
    """Makes the pictures of a setting. The picture of a cell depends on the setting and the cell alone."""

    def make(self, setting: Setting, cells: Sequence[Cell]) -> Iterator[list[Made]]:
        """Batches of pictures, each cell once, in any order. The caller stores a batch before the next."""
