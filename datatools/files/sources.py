"""Where files come from: folders, globs, lists, WebDataset shards, and whatever fsspec reaches."""

from __future__ import annotations

import functools
import glob
import os
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
from fsspec.core import url_to_fs

from datatools.bounded_files import open_regular
from datatools.errors import InputError

__all__ = ["FoundFile", "Source", "fetch", "is_remote", "open_source"]

_LISTS = (".lst", ".list", ".txt")


class FoundFile(NamedTuple):
    """A file of a source, whatever it holds."""

    relative: str
    uri: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Source:
    """A source and its files."""

    root: str
    """What it is called: absolute path, pattern or URL."""
    writable: bool
    files: Iterable[FoundFile]


def is_remote(uri: str) -> bool:
    """Whether fsspec has to be asked."""
    return "://" in uri


def open_source(source: str) -> Source:
    """Find out what kind of source this is, and list its files.

    Raises:
        InputError: there is no such thing, or it cannot be read.
    """
    if is_remote(source):
        return _remote(source)
    if glob.has_magic(source) and not Path(source).exists():
        return _glob(source)
    path = Path(source)
    try:
        if not path.exists():
            raise InputError(f"there is no folder {path}", "Check the path.")
        if path.is_dir():
            os.scandir(path).close()
            root = path.resolve()
            return Source(str(root), True, _walk(str(root)))
        if path.suffix == ".tar":
            return Source(str(path.resolve()), False, _shards([str(path.resolve())]))
        if path.suffix in _LISTS:
            return Source(str(path.resolve()), False, dict.fromkeys(_listed(path.resolve())))
    except PermissionError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", "Check its permissions.") from error
    raise InputError(
        f"{path} is a file, not a folder",
        "Give the folder that holds the pictures, a list of paths (.lst) or a WebDataset shard (.tar).",
    )


def fetch(uri: str, max_bytes: int | None = None) -> bytes:
    """The bytes of a file, at most `max_bytes` of them.

    Raises:
        OSError: as the store says it; other stores' own exceptions pass through.
    """
    limit = -1 if max_bytes is None else max_bytes
    if not is_remote(uri):
        with open_regular(uri) as file:
            return file.read(limit)
    if uri.startswith("tar://") and "::" in uri:
        return _fetch_member(uri, max_bytes)
    with fsspec.open(uri, "rb") as remote:
        return bytes(remote.read(limit))


def _walk(root: str) -> Iterator[FoundFile]:
    """Files below `root`, each folder's entries in order of their names. What goes meanwhile is not there."""
    folders = [("", root)]  # no recursion: folders may lie deeper than Python's stack
    while folders:
        prefix, folder = folders.pop()
        inner = []
        for entry in _entries(folder):
            if entry.name.startswith("."):
                continue  # not even looked into: a folder's .git or .Trash may be large, or closed to us
            if entry.is_dir(follow_symlinks=False):
                inner.append((f"{prefix}{entry.name}/", entry.path))
            elif entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):
                    facts = entry.stat(follow_symlinks=False)
                    yield FoundFile(prefix + entry.name, entry.path, facts.st_size, facts.st_mtime_ns)
        folders += reversed(inner)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(
            f"{folder} cannot be read: {error.strerror}", "Check its permissions, or leave it out by a glob."
        ) from error


def _local(path: Path, root: Path) -> Iterator[FoundFile]:
    """The file and, if it has them, its .txt and .caption."""
    for each in (path, path.with_suffix(".txt"), path.with_suffix(".caption")):
        if each.is_file() and not each.is_symlink():
            facts = each.stat()
            yield FoundFile(each.relative_to(root).as_posix(), str(each), facts.st_size, facts.st_mtime_ns)


def _glob(pattern: str) -> Source:
    # Keys are relative to the part of the pattern before the first wildcard: stable when files come and go.
    parts = Path(pattern).absolute().parts
    n_fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:n_fixed])
    paths = sorted(path for path in root.glob("/".join(parts[n_fixed:])) if not _by_link(path.parent, root))
    if not paths:
        raise InputError(f"nothing matches {pattern}", "Quote the pattern and check the path.")
    if all(path.suffix == ".tar" for path in paths):
        return Source(str(Path(pattern).absolute()), False, _shards([str(path) for path in paths]))
    found = (file for path in paths for file in _local(path, root))
    return Source(str(Path(pattern).absolute()), False, dict.fromkeys(found))


def _by_link(folder: Path, root: Path) -> bool:
    """Whether a symbolic link leads to `folder` below `root`; `*/` follows them."""
    return any(
        step.is_symlink() for step in (folder, *folder.parents) if step != root and root in step.parents
    )


def _listed(path: Path) -> Iterator[FoundFile]:
    """Paths of a list, one a line; blank lines and lines that begin with # are skipped."""
    root = path.parent
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read as a list of paths: {error}", "Write it as UTF-8."
        ) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        named = root / line.strip()
        picture = (
            named.parent.resolve() / named.name
        )  # the folder may be written in another way, by a link or ..
        if not (picture.is_relative_to(root) and picture.resolve().is_relative_to(root)):
            raise InputError(f"{path}, line {number}: {line} is not below {root}", "Put the list further up.")
        if picture.is_file():
            yield from _local(picture, root)
        else:  # a row with the cause `missing`, not silence
            yield FoundFile(picture.relative_to(root).as_posix(), str(picture), 0, 0)


def _remote(url: str) -> Source:
    try:
        fs, path = url_to_fs(url)
        pattern = path if glob.has_magic(path) else None
        if pattern is None and path.endswith(".tar"):
            return Source(url, False, _shards([url]))
        root = path if pattern is None else pattern[: _magic_at(pattern)].rpartition("/")[0]
        found = fs.glob(pattern, detail=True) if pattern else fs.find(path, detail=True)
    except (ValueError, ImportError) as error:
        raise InputError(f"{url} cannot be opened: {error}", "Install the package it names.") from error
    except Exception as error:  # every store has exceptions of its own: no access, no bucket, no network
        raise InputError(
            f"{url} cannot be listed: {type(error).__name__}: {error}", "Check the URL."
        ) from error
    if not found:
        raise InputError(f"there is nothing at {url}", "Check the URL and your access to it.")
    if all(name.endswith(".tar") for name in found):
        return Source(url, False, _shards([fs.unstrip_protocol(name) for name in sorted(found)]))
    return Source(url, False, _remote_files(fs, found, root))


def _magic_at(pattern: str) -> int:
    return min(pattern.index(c) for c in "*?[" if c in pattern)


def _remote_files(fs: Any, found: dict[str, dict[str, Any]], root: str) -> Iterator[FoundFile]:
    for name, info in sorted(found.items()):
        relative = name.removeprefix(root).lstrip("/")
        hidden = any(part.startswith(".") for part in relative.split("/"))
        if info.get("type") == "file" and not info.get("islink") and not hidden:
            yield FoundFile(relative, fs.unstrip_protocol(name), int(info["size"] or 0), _changed_ns(info))


def _changed_ns(info: dict[str, Any]) -> int:
    """Stores call the time of change by different names."""
    value = next(
        (info[name] for name in ("mtime", "LastModified", "last_modified", "updated") if name in info), 0
    )
    if isinstance(value, datetime):
        return int(value.timestamp() * 1e9)
    return int(value * 1e9) if isinstance(value, int | float) else 0


def _shards(urls: list[str]) -> Iterator[FoundFile]:
    """Members of tar shards; a member's key begins with its shard's name, its time is the shard's."""
    for url in urls:
        info = fsspec.filesystem("file").info(url) if not is_remote(url) else _info(url)
        shard = url.rsplit("/", 1)[-1].removesuffix(".tar")
        for name, (_, size) in _members(url).items():
            if "::" in name:  # it parts the links of an fsspec chain
                raise InputError(f"{url}: the member name {name!r} holds '::'", "Rename it.")
            # As `tar cf x.tar .` names them.
            key = f"{shard}/{name.removeprefix('./')}"
            yield FoundFile(key, f"tar://{name}::{url}", size, _changed_ns(info))


def _info(url: str) -> dict[str, Any]:
    fs, path = url_to_fs(url)
    return dict(fs.info(path))


@functools.lru_cache(maxsize=16)
def _members(url: str) -> dict[str, tuple[int, int]]:
    """Offset and size of each file in a tar, read once per process: members are then fetched directly."""
    try:
        with fsspec.open(url, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            return {member.name: (member.offset_data, member.size) for member in tar if member.isreg()}
    except tarfile.TarError as error:
        raise InputError(f"{url} is not an uncompressed tar file: {error}", "Unpack or repack it.") from error


def _fetch_member(uri: str, max_bytes: int | None) -> bytes:
    name, _, url = uri.removeprefix("tar://").partition("::")
    if name not in _members(url):
        raise FileNotFoundError(f"{name} is not in {url}")
    offset, size = _members(url)[name]
    fs, path = url_to_fs(url)
    return bytes(fs.cat_file(path, start=offset, end=offset + min(size, max_bytes or size)))
