"""Real pictures to compare with: a catalog's, at the size the model makes, their features kept by content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import fsspec
import numpy as np
import numpy.typing as npt
from PIL import Image

from datatools.catalog import open_catalog
from datatools.catalog.limits import known_limits
from datatools.decode import Limits, Rejection, decode
from datatools.errors import InputError
from eval.identity import identity
from txtdiff.data.picture import fit_square

__all__ = [
    "MAX_REFERENCE_PICTURES",
    "Reference",
    "checked_reference",
    "load_reference_picture",
    "open_reference",
]

MAX_REFERENCE_PICTURES = 50_000


@dataclass(frozen=True, slots=True)
class Reference:
    """Pictures of a catalog, each as (sha256, uri), in the order of their hashes."""

    catalog: Path
    pictures: Sequence[tuple[str, str]]
    limits: Limits
    """What the catalog's pictures were decoded with."""

    @property
    def digest(self) -> str:
        """Identity of the set of pictures, wherever they lie."""
        return identity([sha256 for sha256, _ in self.pictures])


def open_reference(catalog: Path) -> Reference:
    """The usable pictures of a catalog, at most 50,000; hashes choose which, and so at random.

    Raises:
        InputError: no such catalog, or one without pictures.
    """
    with open_catalog(catalog) as opened:
        rows = opened.frame(
            """SELECT sha256, min(uri) AS uri FROM pictures
               WHERE status = 'ok' AND sha256 IS NOT NULL GROUP BY sha256 ORDER BY sha256 LIMIT ?""",
            [MAX_REFERENCE_PICTURES],
        )
        limits = known_limits(opened)
    if rows.empty:
        raise InputError(f"the catalog {catalog} has no usable picture", "datatools check says why.")
    return Reference(catalog, list(zip(rows["sha256"], rows["uri"], strict=True)), limits)


def checked_reference(catalog: Path | None) -> dict[str, str] | None:
    """What a plan keeps of the catalog to compare with; opened once, so that a wrong path is told now.

    Raises:
        InputError: as `open_reference`.
    """
    if catalog is None:
        return None
    open_reference(catalog)
    return {"catalog": str(catalog.resolve())}


def load_reference_picture(uri: str, size_px: int, limits: Limits) -> npt.NDArray[np.uint8] | None:
    """A real picture scaled and cut as training does, (size_px, size_px, 3) uint8; None when it is gone."""
    try:
        with fsspec.open(uri, "rb") as file:
            pixels = decode(file.read(), limits)
    except (OSError, Rejection):
        return None
    return np.asarray(fit_square(Image.fromarray(pixels), size_px))
