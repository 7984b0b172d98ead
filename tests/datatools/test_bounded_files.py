"""Text and JSON of strangers: what is there comes back, and every fault is one message."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from datatools.bounded_files import read_json, read_text
from datatools.errors import InputError
from datatools.sidecars.forms import read_sidecar


def test_what_the_file_holds_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"cat": [0, "é"]}', "utf-8")
    assert read_json(path, "a map", 100) == {"cat": [0, "é"]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "cannot be read as a map: "),
        (b"\xff", "cannot be read as a map: "),
        (b"[" * 200_000, "cannot be read as a map: "),
        (b" " * 300_001, "is too large for a map"),
        (None, "there is no file "),
    ],
)
def test_faults_are_told_with_the_remedy(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as told:
        read_json(path, "a map", 300_000, "Write another.")
    assert said in told.value.what
    assert told.value.remedy == (None if "too large" in said else "Write another.")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of POSIX")
def test_pipes_and_devices_are_no_files(tmp_path: Path) -> None:
    """Their size is 0, and they never end, or never begin."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero"), tmp_path):
        with pytest.raises(InputError, match=r"cannot be read as settings: .*Not a regular file"):
            read_text(path, "settings", 1000)
        with pytest.raises(InputError, match="cannot be read: Not a regular file"):
            read_sidecar(path, "safebox")


def test_no_more_than_the_bound_is_read_whatever_the_size_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x" * 11)
    assert read_text(tmp_path / "a", "settings", 11) == "x" * 11
    with pytest.raises(InputError, match="too large for settings: more than 10 bytes"):
        read_text(tmp_path / "a", "settings", 10)
    said = Path("/proc/self/status")
    if said.is_file():
        assert said.stat().st_size == 0
        with pytest.raises(InputError, match="too large"):
            read_text(said, "settings", 10)


def test_text_may_begin_with_a_mark_of_byte_order(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbfa = 1\r\n")
    assert read_text(path, "settings", 100) == "a = 1\n"
