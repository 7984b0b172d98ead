"""A source -> the pictures in it, in a stable order.

A source is a folder, a glob, a list of files, WebDataset shards, or an fsspec URL of any of these. Folders
are read recursively; symbolic links are not followed, neither to files nor to folders; names that begin
with a dot are left out, and so are the shrunk copies of catalogs that lie in a source. A picture is a file
whose extension, in any case, is in EXTENSIONS. What the file really holds is decode's question.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path

from datatools.errors import InputError
from datatools.files.sources import FoundFile, open_source
from datatools.keys import make_key
from datatools.shrink import is_stored_copy

__all__ = ["EXTENSIONS", "ImageRef", "Listing", "scan"]

EXTENSIONS = frozenset({"jpg", "jpeg", "png", "gif", "webp", "bmp"})


@dataclass(frozen=True, slots=True)
class ImageRef:
    """Where a file is and what a `stat` says of it."""

    key: str
    """Path below the source root, "/" as separator, NFC."""
    uri: str
    """What `fsspec.open` opens; for local files an absolute path."""
    size_bytes: int
    mtime_ns: int
    """Time of last change, in nanoseconds since 1970; 0 where a store tells none."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What stands in a source."""

    root: str
    """Absolute path or URL of the source."""
    writable: bool
    """Files can be written beside the pictures: the source is a local folder."""
    images: list[ImageRef] = field(default_factory=list)
    """Pictures in order of their keys."""
    texts: dict[str, ImageRef] = field(default_factory=dict)
    """.txt files by their key."""
    captions: dict[str, ImageRef] = field(default_factory=dict)
    """.caption files by their key."""
    caption_lists: list[str] = field(default_factory=list)
    """Where the source's own captions.jsonl is, if it has one."""
    unnamed: list[tuple[ImageRef, str]] = field(default_factory=list)
    """Pictures without a usable key, under an escaped one, each with the reason."""


def scan(source: str | Path) -> Listing:
    """List the pictures of a source, and the .txt and .caption files.

    Args:
        source: a folder; a glob ("photos/**/*.jpg"); a list (.lst, .list or .txt, one path a line, relative
        to the list's folder); WebDataset shards ("shards/*.tar"); or an fsspec URL of a folder, a glob or
        shards.

    Raises:
        InputError: no such source, not readable, or no picture in it.
    """
    opened = open_source(str(source))
    listing = Listing(opened.root, opened.writable)
    _fill(listing, opened.files)
    listing.images.sort(key=lambda image: image.key)
    if not listing.images and not listing.unnamed:
        kinds = ", ".join(sorted(EXTENSIONS))
        raise InputError(
            f"there is no picture in {opened.root}", f"Pictures are files with the extensions {kinds}."
        )
    return listing


def _fill(listing: Listing, files: Iterable[FoundFile]) -> None:
    taken: set[str] = set()
    for file in files:
        if is_stored_copy(file.relative) or _is_hidden(file.relative):
            continue
        name = file.relative.rsplit("/", 1)[-1]
        extension = name.rpartition(".")[2].lower() if "." in name else ""
        if extension in EXTENSIONS:
            _add_picture(listing, taken, file)
        elif extension == "txt":
            _add_text(listing.texts, file)
        elif extension == "caption":
            _add_text(listing.captions, file)
        elif file.relative == "captions.jsonl":
            listing.caption_lists.append(file.uri)


def _is_hidden(relative: str) -> bool:
    """Whether a folder on the way, or the file, has a name that begins with a dot; `..` is no name."""
    return "/." in f"/{relative}" and any(
        part.startswith(".") and part not in (".", "..") for part in relative.split("/")
    )


def _add_picture(listing: Listing, taken: set[str], file: FoundFile) -> None:
    try:
        key = make_key(file.relative)
        if key in taken:
            raise InputError("another file has the same name in Unicode normal form C")
    except InputError as error:
        escaped = _escaped(file.relative, taken)
        listing.unnamed.append((ImageRef(escaped, "", file.size_bytes, file.mtime_ns), error.what))
        taken.add(escaped)
        return
    taken.add(key)
    listing.images.append(ImageRef(key, file.uri, file.size_bytes, file.mtime_ns))


def _escaped(relative: str, taken: Collection[str]) -> str:
    """The name in ASCII, printable anywhere; numbered if it is another file's, whose row it would replace.

    Escapes and numbers have a backslash, which no key has: no file that comes later can be named so.
    """
    escaped = relative.encode("ascii", "backslashreplace").decode("ascii")
    numbered = (rf"{escaped}\{number}" for number in count(2))
    return next(name for name in chain([escaped], numbered) if name not in taken)


def _add_text(texts: dict[str, ImageRef], file: FoundFile) -> None:
    name, _, extension = file.relative.rpartition(".")
    # A.TXT belongs to A.JPG as a.txt does to a.jpg; where both cases stand, the usual one counts.
    key = unicodedata.normalize("NFC", f"{name}.{extension.lower()}")
    if extension.islower():
        texts.pop(key, None)
    texts.setdefault(key, ImageRef(key, file.uri, file.size_bytes, file.mtime_ns))
