"""What a picture is called: relative-path keys of our own, and the fork's stems.

A key is the path below the source root: parts joined by "/", Unicode NFC, no empty part, no "." or "..", no
NUL, no backslash, no drive, at most 255 UTF-8 bytes a part. The fork calls a picture by its file name
without folder and without the last extension; two pictures can share such a stem, and then neither may be
used.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from datatools.errors import InputError

__all__ = [
    "MAX_PART_BYTES",
    "StemIndex",
    "check_key",
    "index_stems",
    "key_below",
    "make_key",
    "sibling_key",
    "stem_of",
    "txt_key",
]

MAX_PART_BYTES = 255

# What nearly every key is: ASCII parts that begin with a letter or digit. Known good at a tenth of the cost.
_PLAIN = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_ .,()+-]{0,254}/)*[A-Za-z0-9_][A-Za-z0-9_ .,()+-]{0,254}")


def make_key(relative_path: str) -> str:
    """The key of a file at `relative_path` below the source root ("/" or the system's separator).

    Raises:
        InputError: the path cannot be a key; see `check_key`.
    """
    key = unicodedata.normalize("NFC", relative_path)
    check_key(key)
    return key


def check_key(key: str) -> None:
    """Refuse a key that is malformed or would leave the source root.

    Raises:
        InputError: says which rule the key breaks.
    """
    problem = _problem(key)
    if problem is not None:
        raise InputError(
            f"{key!r} is not a key: {problem}", "Keys are relative paths with '/', as in a/b.png."
        )


def _problem(key: str) -> str | None:
    if _PLAIN.fullmatch(key):
        return None
    return _broken_rule(key)


def _broken_rule(key: str) -> str | None:
    try:
        parts = [part.encode("utf-8") for part in key.split("/")]
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    if not unicodedata.is_normalized("NFC", key):
        return "it is not in Unicode normal form C"
    if "\0" in key or "\\" in key or re.match(r"[A-Za-z]:", key):
        return "it holds NUL, a backslash or a drive letter"
    if any(part in (b"", b".", b"..") for part in parts):
        return "it is absolute, or has an empty, '.' or '..' part"
    if any(len(part) > MAX_PART_BYTES for part in parts):
        return f"a part is longer than {MAX_PART_BYTES} bytes"
    return None


def key_below(root: Path, key: str) -> Path:
    """The path of `key` below `root`, never outside it, symlinks included.

    Raises:
        InputError: the key is malformed or a symlink leads out of `root`.
    """
    check_key(key)
    path = root / key
    if not path.resolve().is_relative_to(root.resolve()):
        raise InputError(f"'{key}' leads out of {root}", "Remove the symbolic link.")
    return path


def stem_of(key: str) -> str:
    """The fork's name of a picture: "sub/b.x.jpg" -> "b.x" (fork_spec 2.3)."""
    name = key.rsplit("/", 1)[-1]
    return name.rsplit(".", 1)[0] if "." in name else name


def sibling_key(key: str, extension: str) -> str:
    """The key of a file that belongs to a picture: the last extension becomes `extension`."""
    folder, slash, _ = key.rpartition("/")
    return f"{folder}{slash}{stem_of(key)}.{extension}"


def txt_key(key: str) -> str:
    """The key of the transcription beside a picture."""
    return sibling_key(key, "txt")


@dataclass(frozen=True, slots=True)
class StemIndex:
    """Stems of a set of pictures."""

    key_of: dict[str, str]
    """Stem -> the one key that has it."""
    shared: dict[str, list[str]]
    """Stem -> all keys that share it, two or more, in order."""


def index_stems(keys: Iterable[str]) -> StemIndex:
    """Sort stems into those that name one picture and those that name several."""
    found: dict[str, list[str]] = {}
    for key in keys:
        found.setdefault(stem_of(key), []).append(key)
    single = {stem: same[0] for stem, same in found.items() if len(same) == 1}
    return StemIndex(single, {stem: sorted(same) for stem, same in found.items() if len(same) > 1})
