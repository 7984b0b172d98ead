"""Pictures of samples, small enough for all of them to fit into one page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from PIL import Image

from eval.leaderboard.board import BoardSample

__all__ = ["MAX_EDGE_PX", "make_thumbnails"]

MAX_EDGE_PX = 160
QUALITY = 82
# As much as one picture may hold before it is not even opened: thumbnails are of generated pictures.
MAX_PIXELS = 16_000_000


def make_thumbnails(samples: Sequence[BoardSample], max_bytes: int) -> list[str | None]:
    """A WebP data URI for each sample, or None where there is no picture or no room.

    Room is given out prompt by prompt and seed by seed, to all rows at once, so that what can be seen can be
    compared. The same samples give the same pictures.

    Args:
        max_bytes: how long all of them together may be.
    """
    thumbnails: list[str | None] = [None] * len(samples)
    cells: dict[tuple[str, int], list[int]] = {}
    for i, sample in enumerate(samples):
        cells.setdefault((sample.prompt_id, sample.seed), []).append(i)
    left = max_bytes
    for members in cells.values():
        made = {i: _thumbnail(samples[i].png) for i in members}
        left -= sum(len(uri) + 3 for uri in made.values() if uri)
        if left < 0:
            break
        for i, uri in made.items():
            thumbnails[i] = uri
    return thumbnails


def _thumbnail(png: bytes) -> str | None:
    """A picture of at most 160 px as a data URI; None for bytes that are no such picture."""
    try:
        with Image.open(io.BytesIO(png), formats=("PNG", "JPEG", "WEBP")) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                return None
            small = picture.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    small.thumbnail((MAX_EDGE_PX, MAX_EDGE_PX), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "WEBP", quality=QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
