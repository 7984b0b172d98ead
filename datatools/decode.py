"""Bytes of a stranger's picture -> pixels, or a Rejection that names its cause.

Everything is checked on the header first: format, size in pixels, size in bytes. Only then are pixels
decoded. The trainer decodes with the same function, so a coordinate in a catalog means the same pixel
everywhere.
"""

from __future__ import annotations

import struct
import warnings
from io import BytesIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from datatools.rejection import CAUSES, MAX_PIXELS, Cause, Limits, Rejection

__all__ = [
    "CAUSES",
    "FORMATS",
    "MAX_PIXELS",
    "Cause",
    "Limits",
    "Rejection",
    "decode",
    "is_plain",
    "read_size_px",
]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
"""Formats that are opened. The list is short because every further decoder is further attack surface."""

_LIMITS = Limits()

# Pillow warns, on stderr, about headers that our own limit is about to refuse.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# And about broken metadata, once a picture, which says nothing about its pixels.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def decode(data: bytes, limits: Limits = _LIMITS, reduce: float = 1.0) -> np.ndarray:
    """Pixels of a picture, (H, W, 3) uint8 RGB: first frame, EXIF orientation applied, alpha over white.

    Args:
        data: the file's bytes.
        limits: checked against the byte count and the header before anything is decoded.
        reduce: a JPEG may come out 2, 4 or 8 times smaller, at most by this factor: its decoder then skips
            frequencies, which is several times faster. Coordinates of the whole picture do not hold then.

    Raises:
        Rejection: with its cause, for every file that cannot be decoded whole.
    """
    image = _open(data, limits)
    try:
        step = next((step for step in (8, 4, 2) if step <= reduce), 1)
        if step > 1 and image.format == "JPEG":
            image.draft(image.mode, (image.width // step, image.height // step))
        image.load()
        # Orientation comes after loading: Pillow reads a PNG's EXIF chunk only then.
        image = _orient(image)
        return np.ascontiguousarray(_to_rgb(image), dtype=np.uint8)
    except MemoryError as error:
        raise Rejection("out_of_memory", f"{image.width}x{image.height}") from error
    except Image.DecompressionBombError as error:
        raise Rejection("too_many_pixels", str(error)) from error
    except Exception as error:  # Pillow's decoders raise nearly any type on hostile data
        raise Rejection(_cause_of(error), f"{type(error).__name__}: {error}") from error


def read_size_px(data: bytes, limits: Limits = _LIMITS) -> tuple[int, int]:
    """(width, height) that `decode` would return, from the header alone."""
    image = _open(data, limits)
    turned = _orientation(image) in (5, 6, 7, 8)
    return (image.height, image.width) if turned else (image.width, image.height)


def is_plain(data: bytes, limits: Limits = _LIMITS) -> bool:
    """Whether every program sees in the file what `decode` returns: no orientation, alpha or depth."""
    image = _open(data, limits)
    return image.mode in ("RGB", "L") and _orientation(image) == 1 and "transparency" not in image.info


def _open(data: bytes, limits: Limits) -> Image.Image:
    if not data:
        raise Rejection("empty")
    if len(data) > limits.max_bytes:
        raise Rejection("too_many_bytes", f"{len(data)} bytes, limit {limits.max_bytes}")
    try:
        image: Image.Image = Image.open(BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise Rejection("unknown_format", f"begins with {data[:8].hex(' ')}") from error
    except Image.DecompressionBombError as error:
        raise Rejection(
            "too_many_pixels", f"more than {MAX_PIXELS}, limit {limits.max_pixels} pixels"
        ) from error
    except MemoryError as error:
        raise Rejection("out_of_memory", "while reading the header") from error
    except Exception as error:
        raise Rejection(_cause_of(error), f"{type(error).__name__}: {error}") from error
    n_pixels = image.width * image.height
    if n_pixels > limits.max_pixels:
        size = f"{image.width}x{image.height}"
        raise Rejection("too_many_pixels", f"{size}, limit {limits.max_pixels} pixels")
    if min(image.size) < limits.min_edge_px:
        raise Rejection("too_small", f"{image.width}x{image.height}, limit {limits.min_edge_px} px an edge")
    return image


def _cause_of(error: Exception) -> Cause:
    # Pillow has no exception type of its own for truncation; its messages are what there is.
    text = str(error).lower()
    truncated = isinstance(error, (EOFError, struct.error)) or "truncated" in text or "not enough" in text
    return "truncated" if truncated else "corrupt"


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation (tag 274) -> how to turn the stored pixels upright (EXIF 2.32, 4.6.4)."""


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(274, 1)
    except Exception:  # broken metadata around good pixels: the picture counts, the metadata does not
        return 1
    return value if isinstance(value, int) else 1


def _orient(image: Image.Image) -> Image.Image:
    # Not ImageOps.exif_transpose: it rewrites the whole EXIF block and fails where only the block is broken.
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "F"):
        return _from_deep(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _from_deep(image: Image.Image) -> Image.Image:
    """16-bit (and float) grey to 8 bits by scale; Pillow's own conversion clips at 255 instead."""
    values = np.array(image, dtype=np.float32)  # enough for 16 bits: no value of theirs lies near a tie
    top = 65535.0 if values.max(initial=0.0) > 255 else 255.0
    values *= 255.0 / top
    return Image.fromarray(np.rint(np.clip(values, 0, 255, out=values), out=values).astype(np.uint8))
