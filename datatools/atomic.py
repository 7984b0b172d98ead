"""Files that are there whole or not at all, whatever kills the process."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

__all__ = [
    "atomic_open",
    "fsync_directory",
    "make_directory",
    "write_bytes_atomic",
    "write_text_atomic",
]


@contextmanager
def atomic_open(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that takes the name `path` only when the block ends well.

    Written beside `path` in the same folder, synced to disk, then renamed over it; an existing file keeps
    its permissions. On any exception the old file stays and the temporary one is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        temporary.replace(path)
        fsync_directory(path.parent)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path`: afterwards the file is the old one or the new one, never half."""
    with atomic_open(path) as file:
        file.write(data)


def write_text_atomic(path: Path, text: str) -> None:
    """`write_bytes_atomic` for UTF-8 text, newlines as they are."""
    write_bytes_atomic(path, text.encode("utf-8"))


def fsync_directory(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_directory(folder: Path) -> None:
    """Make `folder` and those above it where they are not there, so that a power cut leaves them."""
    if folder.is_dir():
        return
    make_directory(folder.parent)
    folder.mkdir(exist_ok=True)
    fsync_directory(folder.parent)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
