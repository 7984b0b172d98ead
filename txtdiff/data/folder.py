"""A folder as the parent project's users have it: pictures, .txt files beside them, sidecars by file stem.

It becomes the same table that a catalog gives, so that everything behind it knows one form only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from datatools.console import plain, progress, say
from datatools.decode import Rejection, read_size_px
from datatools.files.sources import fetch
from datatools.keys import txt_key
from datatools.scan import ImageRef, Listing, scan
from datatools.sidecars import Sidecar, match_keys, read_sidecar
from datatools.sidecars.captions import read_captions
from datatools.sidecars.texts import parse_txt
from txtdiff.data.config import DataConfig

__all__ = ["read_folder"]

_HEADER_BYTES = 65_536
_THREADS = 8

SCHEMA = pa.schema(
    [
        ("key", pa.string()), ("uri", pa.string()), ("width_px", pa.int32()), ("height_px", pa.int32()),
        ("size_bytes", pa.int64()), ("text", pa.string()), ("source", pa.string()), ("n_lines", pa.int32()),
        ("n_chars", pa.int32()), ("confidence", pa.float32()), ("left", pa.float32()), ("top", pa.float32()),
        ("right", pa.float32()), ("bottom", pa.float32()), ("sx", pa.float64()), ("sy", pa.float64()),
        ("captions", pa.list_(pa.string())),
    ]
)  # fmt: skip


def read_folder(config: DataConfig) -> pa.Table:
    """One row for each picture in `data.folder`, with the columns of SCHEMA; unreadable ones have no width.

    Raises:
        InputError: no such folder, no picture in it, or a sidecar that cannot be used.
    """
    assert config.folder is not None
    listing = scan(config.folder)
    keys = [image.key for image in listing.images]
    boxes = _matched(config.safeboxes, partial(read_sidecar, field="safebox"), keys)
    scales = _matched(config.px_scales, partial(read_sidecar, field="px_scale"), keys)
    captions = _matched(config.captions, read_captions, keys)
    rows = []
    with progress("reading headers and texts", len(keys)) as advance, ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(lambda image: _look_at(image, listing), listing.images)
        for image, (size, text) in zip(listing.images, found, strict=True):
            sidecars = (boxes.get(image.key), scales.get(image.key), captions.get(image.key))
            rows.append(_row(image, size, text, *sidecars))
            advance()
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _look_at(image: ImageRef, listing: Listing) -> tuple[tuple[int, int] | None, str | None]:
    """Size of a picture, None if it cannot be read, and its text, None without a .txt file."""
    txt = listing.texts.get(txt_key(image.key))
    try:
        text = None if txt is None else parse_txt(fetch(txt.uri))
    except (OSError, ValueError) as error:
        say(f"{plain(txt.uri if txt else '')} is left out: {plain(str(error))}")
        text = None
    return _size_px(image), text


def _size_px(image: ImageRef) -> tuple[int, int] | None:
    # The header nearly always lies in the first bytes; a long EXIF block may push it further.
    for limit in (_HEADER_BYTES, None):
        with suppress(OSError, Rejection):
            return read_size_px(fetch(image.uri, limit))
    return None


def _row(
    image: ImageRef, size: tuple[int, int] | None, text: str | None, box: Any, scale: Any, captions: Any
) -> dict[str, Any]:
    left, top, right, bottom = box or (None,) * 4
    return {
        "key": image.key,
        "uri": image.uri,
        "width_px": size and size[0],
        "height_px": size and size[1],
        "size_bytes": image.size_bytes,
        "text": text,
        "source": None if text is None else "given",
        "n_lines": None if text is None else len(text.split("\n")) if text else 0,
        "n_chars": None if text is None else len(text),
        "left": left,
        "top": top,
        "right": right,
        "bottom": bottom,
        "sx": scale and scale[0],
        "sy": scale and scale[1],
        "captions": [captions] if isinstance(captions, str) else captions or None,
    }


def _matched(path: Path | None, read: Callable[[Path], Sidecar], keys: Iterable[str]) -> Mapping[str, Any]:
    """A sidecar's values by key; what fits no picture, or two, is said."""
    if path is None:
        return {}
    matched = match_keys(read(path), keys)
    for line in _complaints(matched.unmatched, matched.shared):
        say(f"{plain(str(path))}: {line}")
    return matched.values


def _complaints(unmatched: list[str], shared: Mapping[str, list[str]]) -> Iterator[str]:
    if unmatched:
        yield f"{len(unmatched)} names match no picture, among them {plain(unmatched[0])}"
    for stem, same in list(shared.items())[:1]:
        listed = ", ".join(plain(key) for key in same[:2])
        yield f"{len(shared)} names match several pictures and are not used; {plain(stem)} matches {listed}"
