"""Cut known text regions out of a picture, upright, for a recogniser alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from datatools.ocr.engine import Picture, Polygon
from datatools.ocr.enlarge import EnlargeSettings, enlarge

__all__ = ["REGION_MARGIN", "cut_regions"]

REGION_MARGIN = 0.1
"""A region grows by this share of its height on every side: recognisers learnt on what detectors cut out,
and detectors leave some ground around the ink."""


def cut_regions(
    picture: Picture, regions: list[Polygon], settings: EnlargeSettings | None = None
) -> list[Picture]:
    """Each region as a picture of its own, its corners in the corners.

    Args:
        picture: (H, W, 3) uint8 RGB; enlarged first, as for reading the whole of it.
        regions: four corners each, in pixels of `picture`, clockwise from the text's own top left.
    """
    larger, factor = enlarge(picture, settings)
    image = Image.fromarray(larger)
    return [_cut(image, np.asarray(region, np.float64) * factor) for region in regions]


def _cut(image: Image.Image, corners: npt.NDArray[np.float64]) -> Picture:
    across, down = corners[1] - corners[0], corners[3] - corners[0]
    height = float(np.linalg.norm(down))
    margin_x = across / max(float(np.linalg.norm(across)), 1e-9) * height * REGION_MARGIN
    margin_y = down * REGION_MARGIN
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    grown = corners + np.array([x * margin_x + y * margin_y for x, y in signs])
    grown = np.clip(grown, 0, image.size)
    width_px = round(float(max(np.linalg.norm(grown[1] - grown[0]), np.linalg.norm(grown[2] - grown[3]))))
    height_px = round(float(max(np.linalg.norm(grown[3] - grown[0]), np.linalg.norm(grown[2] - grown[1]))))
    # Pillow wants the corners as top left, bottom left, bottom right, top right.
    quad = grown[[0, 3, 2, 1]].reshape(-1).tolist()
    size = (max(1, width_px), max(1, height_px))
    return np.asarray(image.transform(size, Image.Transform.QUAD, quad, Image.Resampling.BICUBIC))
