"""Why a picture cannot be used, and what it may cost before that is found out.

Plain data, without a decoder: options and settings speak of it in commands that open no picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from datatools.errors import InputError

__all__ = ["CAUSES", "MAX_PIXELS", "Cause", "Limits", "Rejection"]

Cause = Literal[
    "missing",  # listed, but gone when it was opened
    "unreadable",  # the file system or the remote store refused it
    "bad_name",  # the file name is not valid Unicode, or two files share it after normalisation
    "empty",  # zero bytes
    "too_many_bytes",  # more bytes than the limit
    "unknown_format",  # none of FORMATS, whatever the extension says
    "too_many_pixels",  # the header announces more pixels than the limit
    "too_small",  # the shorter edge is below the limit
    "truncated",  # the data end before the picture does
    "corrupt",  # the decoder gave up
    "out_of_memory",  # decoding asked for more memory than the limit, or reading for more than there is
    "timeout",  # decoding and reading took longer than the limit
    "crashed",  # the worker process died on this picture
    "reader_error",  # the reader raised an error on this picture
    "bad_txt",  # the picture is fine, but its own .txt is not UTF-8 text or belongs to two pictures
]
"""Every reason why something about a picture could not be used. The list is closed."""

CAUSES: tuple[Cause, ...] = get_args(Cause)

MAX_PIXELS = 178_956_970
"""Twice `PIL.Image.MAX_IMAGE_PIXELS`: from there on Pillow takes a picture for a decompression bomb."""

_MAX_DETAIL = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a picture may cost before its pixels are decoded."""

    max_bytes: int = 128 * 2**20
    """Largest file, in bytes."""
    max_pixels: int = 64_000_000
    """Largest width x height, in pixels; at most MAX_PIXELS, beyond which Pillow opens nothing."""
    min_edge_px: int = 8
    """Shortest edge, in pixels: below this no letter can be read or drawn."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_pixels <= MAX_PIXELS:
            raise InputError(
                f"--max-pixels {self.max_pixels} cannot be used", f"It must be from 1 to {MAX_PIXELS}."
            )


class Rejection(Exception):  # noqa: N818 - an expected outcome, not an error of the program
    """A picture that cannot be used.

    Args:
        cause: one of CAUSES.
        detail: what exactly was found, at most 200 characters.
    """

    def __init__(self, cause: Cause, detail: str = "") -> None:
        super().__init__(cause, detail[:_MAX_DETAIL])
        self.cause: Cause = cause
        self.detail = detail[:_MAX_DETAIL]
