"""What is the same picture: by bytes (sha256) and by looks (perceptual hash)."""

from __future__ import annotations

import hashlib

import numpy as np
from PIL import Image

__all__ = ["perceptual_hash", "sha256_of"]


_DCT = np.cos(np.pi / 32 * np.outer(np.arange(8), np.arange(32) + 0.5))
"""The first eight rows of the type-II cosine transform of length 32, unscaled: only signs are used."""


def sha256_of(data: bytes) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    return hashlib.sha256(data).hexdigest()


def perceptual_hash(picture: np.ndarray) -> int:
    """64 bits that change little when a picture is scaled, recompressed or slightly recoloured.

    The signs of the lowest 8 x 8 frequencies against their median (pHash, Zauner 2010).

    Args:
        picture: (H, W, 3) uint8 RGB.

    Returns:
        An unsigned 64-bit integer; similar pictures differ in few bits.
    """
    grey = Image.fromarray(picture).convert("L").resize((32, 32), Image.Resampling.BOX)
    low = (_DCT @ np.asarray(grey, dtype=np.float64) @ _DCT.T).ravel()
    # The first coefficient is the mean brightness: it says nothing about what is seen.
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
