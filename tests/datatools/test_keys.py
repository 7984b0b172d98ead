"""Keys, stems, and paths that stay below their root."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datatools.errors import InputError
from datatools.keys import check_key, index_stems, key_below, make_key, stem_of, txt_key


@given(st.text(max_size=60))
def test_a_key_is_accepted_only_if_it_stays_below_the_root(text: str) -> None:
    root = Path("/some/root")
    try:
        key = make_key(text)
    except InputError:
        return
    assert (root / key).resolve(strict=False).is_relative_to(root)
    assert (root / key) != root
    assert unicodedata.is_normalized("NFC", key)
    assert make_key(key) == key


BAD = [
    *("", "/etc/passwd", "../x.png", "a/../../x", "a//b", "./a", "a/", "C:/x", "a\\b", "a\0b", "e\u0301"),
    *("x" * 256, "\udcff.png"),
]


@pytest.mark.parametrize("key", BAD)
def test_bad_keys_are_refused(key: str) -> None:
    with pytest.raises(InputError, match="is not a key"):
        check_key(key)


def test_a_symlink_does_not_lead_out_of_the_root(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "link").symlink_to(outside)
    assert key_below(root, "a/b.png") == root / "a/b.png"
    with pytest.raises(InputError, match="leads out"):
        key_below(root, "link/x.png")


def test_stems_are_the_forks() -> None:
    # fork_spec 2.3: data/sub/b.x.jpg -> b.x
    assert stem_of("data/sub/b.x.jpg") == "b.x"
    assert stem_of("no extension") == "no extension"
    assert txt_key("data/sub.d/b.x.jpg") == "data/sub.d/b.x.txt"


def test_shared_stems_name_no_picture() -> None:
    stems = index_stems(["a/x.png", "b/x.jpg", "y.png"])
    assert stems.key_of == {"y": "y.png"}
    assert stems.shared == {"x": ["a/x.png", "b/x.jpg"]}
