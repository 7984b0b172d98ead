"""Pictures that are stored smaller than their source: how they are made, and where they stand."""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from datatools.atomic import write_bytes_atomic
from datatools.errors import InputError
from datatools.fingerprint import sha256_of

__all__ = ["PictureStore", "Stored", "is_stored_copy", "shrink", "shrunk_size_px"]

_COPY = re.compile(r"(?:^|/)[^/]+\.pictures/[0-9a-f]{2}/[0-9a-f]{64}\.(?:png|jpg)$")
_OURS = re.compile(r"[0-9a-f]{64}\.(?:png|jpg)|\.[0-9a-f]{64}\.(?:png|jpg)\..*\.tmp")


@dataclass(frozen=True, slots=True)
class Stored:
    """A shrunk picture as it stands in the store."""

    uri: str
    size_bytes: int
    sha256: str


def shrunk_size_px(size_px: tuple[int, int], max_edge_px: int, min_edge_px: int) -> tuple[int, int]:
    """(width, height) of a picture shrunk so that no edge is longer than `max_edge_px`.

    The shorter edge of a very oblong picture stays at `min_edge_px`: below it nobody would decode the copy.
    datatools.bookkeeping.plan says the same in SQL.
    """
    factor = min(1.0, max(max_edge_px / max(size_px), min_edge_px / min(size_px)))
    width, height = (math.floor(edge * factor + 0.5) for edge in size_px)
    return width, height


def shrink(picture: np.ndarray, source: bytes, size_px: tuple[int, int]) -> tuple[bytes, str]:
    """A smaller copy of a picture as a file.

    A JPEG stays one (quality 95, colours at full resolution): it has its losses already, shrinking averages
    them out, and as PNG it would be four times as large. Anything else becomes a PNG, without loss.

    Args:
        picture: (H, W, 3) uint8 RGB, decoded from `source`.
        source: the file's bytes; only their beginning is looked at.
        size_px: (width, height) of the copy.

    Returns:
        The file's bytes and its extension, "jpg" or "png".
    """
    # Bicubic over the whole support, as the trainer shrinks (fork_spec 3.1): antialiased.
    small = Image.fromarray(picture).resize(size_px, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    if source[:3] == b"\xff\xd8\xff":
        small.save(buffer, "JPEG", quality=95, subsampling=0)
        return buffer.getvalue(), "jpg"
    small.save(buffer, "PNG")
    return buffer.getvalue(), "png"


def is_stored_copy(path: str) -> bool:
    """Whether a file of a source is a catalog's own shrunk copy: a source may hold catalogs."""
    return _COPY.search(path) is not None


class PictureStore:
    """The folder `<catalog file>.pictures` beside a catalog. A file is named by the sha256 of its bytes.

    So equal pictures share one, no name of a stranger becomes a path, a half file is never taken for a whole
    one, and what no row names is known as rubbish.

    Args:
        catalog: the catalog's file.
    """

    def __init__(self, catalog: Path) -> None:
        catalog = catalog.absolute()
        self.root = catalog.with_name(f"{catalog.name}.pictures")

    def put(self, data: bytes, extension: str) -> Stored:
        """Store a file, unless it is there.

        Raises:
            InputError: it cannot be written.
        """
        digest = sha256_of(data)
        path = self.root / digest[:2] / f"{digest}.{extension}"
        try:
            if not (path.is_file() and path.read_bytes() == data):
                write_bytes_atomic(path, data)
        except OSError as error:
            raise InputError(
                f"{path} cannot be written: {error.strerror}",
                "What was committed before is kept: make room and run the same command again.",
            ) from error
        return Stored(str(path), len(data), digest)

    def paths(self) -> Iterator[str]:
        """All files that are ours, leftovers of killed writers among them."""
        if not self.root.is_dir():
            return
        for folder in sorted(path for path in self.root.iterdir() if path.is_dir()):
            with os.scandir(folder) as found:
                yield from (entry.path for entry in found if _OURS.fullmatch(entry.name))

    def sweep(self, named: Collection[str]) -> int:
        """Remove files of ours that no row names, and folders that are empty then.

        Args:
            named: paths that rows name.

        Returns:
            How many files went.
        """
        n_removed = 0
        for path in [path for path in self.paths() if path not in named]:
            with suppress(OSError):
                Path(path).unlink()
                n_removed += 1
            with suppress(OSError):  # not empty
                Path(path).parent.rmdir()
        with suppress(OSError):
            self.root.rmdir()
        return n_removed
