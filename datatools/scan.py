"""A folder -> the pictures in it, in a stable order.

Recursive; symbolic links are not followed, neither to files nor to folders; names that begin with a dot are
left out. A picture is a file whose extension, in any case, is in EXTENSIONS. What the file really holds is
decode's question.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from datatools.errors import InputError
from datatools.keys import make_key

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
    """Time of last change, in nanoseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What stands in a source."""

    root: str
    """Absolute path of the source."""
    images: list[ImageRef] = field(default_factory=list)
    """Pictures in order of their keys."""
    texts: dict[str, ImageRef] = field(default_factory=dict)
    """.txt files by their key."""
    unnamed: list[tuple[ImageRef, str]] = field(default_factory=list)
    """Pictures without a usable key, under an escaped one, each with the reason."""


def scan(source: str | Path) -> Listing:
    """List the pictures and .txt files below the folder `source`.

    Raises:
        InputError: no such folder, not a folder, not readable, or no picture in it.
    """
    root = _folder(Path(source))
    listing = Listing(str(root))
    taken: set[str] = set()
    for entry, relative in _walk(str(root), ""):
        _add(listing, taken, entry, relative)
    listing.images.sort(key=lambda image: image.key)
    if not listing.images and not listing.unnamed:
        kinds = ", ".join(sorted(EXTENSIONS))
        raise InputError(f"there is no picture in {root}", f"Pictures are files with the extensions {kinds}.")
    return listing


def _folder(path: Path) -> Path:
    try:
        if not path.exists():
            raise InputError(f"there is no folder {path}", "Check the path.")
        if not path.is_dir():
            raise InputError(f"{path} is a file, not a folder", "Give the folder that holds the pictures.")
        os.scandir(path).close()
    except PermissionError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", "Check its permissions.") from error
    return path.resolve()


def _walk(folder: str, prefix: str) -> Iterator[tuple[os.DirEntry[str], str]]:
    """Files below `folder` with their relative paths, each folder's entries in order of their names."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except PermissionError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}", "Check its permissions.") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, f"{prefix}{entry.name}/")
        elif entry.is_file(follow_symlinks=False):
            yield entry, prefix + entry.name


def _add(listing: Listing, taken: set[str], entry: os.DirEntry[str], relative: str) -> None:
    extension = entry.name.rpartition(".")[2].lower() if "." in entry.name else ""
    if extension not in EXTENSIONS and extension != "txt":
        return
    stat = entry.stat(follow_symlinks=False)
    reason = ""
    try:
        key = make_key(relative)
        if key in taken:
            reason = "another file has the same name in Unicode normal form C"
    except InputError as error:
        key, reason = relative, error.what
    if reason:
        # The escaped name is ASCII: unique per file, and printable anywhere.
        escaped = unicodedata.normalize("NFC", relative.encode("ascii", "backslashreplace").decode("ascii"))
        if extension != "txt":
            listing.unnamed.append((ImageRef(escaped, "", stat.st_size, stat.st_mtime_ns), reason))
        return
    taken.add(key)
    ref = ImageRef(key, entry.path, stat.st_size, stat.st_mtime_ns)
    if extension == "txt":
        listing.texts[key] = ref
    else:
        listing.images.append(ref)
