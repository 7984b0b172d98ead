"""Text and JSON of strangers: what is there comes back, and every fault is one message."""

from __future__ import annotations

from pathlib import Path

import pytest

from datatools.bounded_files import read_json, read_text
from datatools.errors import InputError


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


def test_text_may_begin_with_a_mark_of_byte_order(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbfa = 1\r\n")
    assert read_text(path, "settings", 100) == "a = 1\n"
