""".txt files: ground truth of the user, or ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_reader import draw
from test_build import build, rows, texts

from datatools.errors import InputError
from datatools.sidecars.texts import parse_txt

LINES = st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), max_size=4)


@given(LINES)
def test_lines_come_back_with_any_line_end(lines: list[str]) -> None:
    text = "\n".join(lines).removeprefix("\ufeff")
    for written in (text, text + "\n" if text else text, text.replace("\n", "\r\n"), "\ufeff" + text):
        assert parse_txt(written.encode("utf-8")) == text


@pytest.mark.parametrize("data", [b"\xff\xfe", b"a\0b", b"x" * (2**20 + 1)])
def test_what_is_no_text_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"utf-8|NUL|limit"):
        parse_txt(data)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    draw(folder / "a.png", "read")
    draw(folder / "b.png", "other")
    draw(folder / "c.png", "third")
    return folder


def test_a_text_beside_a_broken_picture_is_no_transcription(source: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "c.duckdb"
    (source / "a.png").write_bytes(b"")
    (source / "a.txt").write_text("mine")
    assert build(source, catalog).n_given == 0
    assert sorted(texts(catalog)) == ["b.png", "c.png"]
    draw(source / "a.png", "read")
    build(source, catalog)
    assert texts(catalog)["a.png"] == "mine"


def test_a_given_text_speaks_and_is_never_written_over(source: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "c.duckdb"
    (source / "a.txt").write_text("Mine\nalone\n")
    (source / "b.txt").touch()
    report = build(source, catalog, write_txt="beside")
    assert rows(catalog, "SELECT key, text, source, confidence FROM transcriptions ORDER BY key")[:2] == [
        ("a.png", "Mine\nalone", "given", None),
        ("b.png", "", "given", None),
    ]
    assert report.txt is not None
    assert (report.txt.n_written, report.n_given) == (1, 2)
    assert (source / "a.txt").read_text() == "Mine\nalone\n"
    assert (source / "b.txt").read_text() == ""
    assert (source / "c.txt").read_text() == "third"
    # A box belongs to text: none where the given text is empty.
    assert rows(catalog, "SELECT key FROM safeboxes ORDER BY key") == [("a.png",), ("c.png",)]


def test_our_own_txt_is_ours_until_somebody_edits_it(source: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "c.duckdb"
    build(source, catalog, write_txt="beside")
    assert build(source, catalog, write_txt="beside").n_given == 0
    (source / "a.txt").write_text("corrected")
    assert build(source, catalog, write_txt="beside").n_given == 1
    assert texts(catalog)["a.png"] == "corrected"
    (source / "a.txt").unlink()
    report = build(source, catalog, write_txt="beside")
    assert texts(catalog)["a.png"] == "read"
    assert report.txt is not None
    assert report.txt.n_written == 1
    assert (source / "a.txt").read_text() == "read"


def test_our_txt_follows_a_new_reading(source: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "c.duckdb"
    build(source, catalog, write_txt="beside")
    build(source, catalog, write_txt="beside", ocr=("shouting",))
    assert (source / "a.txt").read_text() == "READ"
    assert build(source, catalog, ocr=("shouting",)).n_given == 0


def test_a_kill_between_catalog_and_disk_leaves_our_txt_ours(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = tmp_path / "c.duckdb"
    build(source, catalog, write_txt="beside")

    def die(path: Path, text: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("datatools.sidecars.texts.write_text_atomic", die)
        build(source, catalog, write_txt="beside", ocr=("shouting",))
    assert (source / "a.txt").read_text() == "read"
    assert build(source, catalog, write_txt="beside", ocr=("shouting",)).n_given == 0
    assert (source / "a.txt").read_text() == "READ"


def test_overwriting_keeps_a_copy(source: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "c.duckdb"
    (source / "a.txt").write_text("mine")
    (source / "a.txt.orig").write_text("older")
    build(source, catalog, write_txt="beside", overwrite_txt=True)
    assert (source / "a.txt").read_text() == "read"
    assert (source / "a.txt.orig").read_text() == "older"
    assert (source / "a.txt.orig2").read_text() == "mine"
    assert texts(catalog)["a.png"] == "read"
    assert build(source, catalog).n_given == 0
    with pytest.raises(InputError, match="--write-txt"):
        build(source, catalog, overwrite_txt=True)


def test_a_tree_of_its_own_leaves_the_source_as_it_is(source: Path, tmp_path: Path) -> None:
    draw(source / "sub/d.png", "deep")
    (tmp_path / "txt").mkdir()
    (tmp_path / "txt/b.txt").write_text("not ours")
    report = build(source, tmp_path / "c.duckdb", write_txt=tmp_path / "txt")
    assert not list(source.rglob("*.txt"))
    assert (tmp_path / "txt/sub/d.txt").read_text() == "deep"
    assert (tmp_path / "txt/b.txt").read_text() == "not ours"
    assert report.txt is not None
    assert (report.txt.n_written, report.txt.n_given) == (3, 1)


def test_a_txt_of_two_pictures_is_refused_for_both(source: Path, tmp_path: Path) -> None:
    draw(source / "a.bmp", "bitmap")
    (source / "a.txt").write_text("whose?")
    (source / "b.txt").write_bytes(b"\xff")
    report = build(source, tmp_path / "c.duckdb", write_txt="beside")
    assert texts(tmp_path / "c.duckdb") == {
        "a.png": "read",
        "a.bmp": "bitmap",
        "b.png": "other",
        "c.png": "third",
    }
    assert report.failures == {"bad_txt": 3}
    assert report.txt is not None
    assert report.txt.shared == ["a.bmp", "a.png"]
    assert (source / "a.txt").read_text() == "whose?"


def test_a_target_that_cannot_be_written_is_told_before_anything_is_read(
    source: Path, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file of somebody's")
    for target in (tmp_path / "taken", tmp_path / "taken/below"):
        with pytest.raises(InputError, match=r"\.txt files cannot be written into .*taken"):
            build(source, tmp_path / "c.duckdb", write_txt=target)
    assert not (tmp_path / "c.duckdb").exists()
    assert (tmp_path / "taken").read_text() == "a file of somebody's"


def test_a_txt_that_cannot_be_written_is_counted_and_costs_nothing_else(source: Path, tmp_path: Path) -> None:
    draw(source / "sub/deep.png", "three")
    (tmp_path / "txt").mkdir()
    (tmp_path / "txt/sub").write_text("no folder")
    report = build(source, tmp_path / "c.duckdb", write_txt=tmp_path / "txt")
    assert report.txt is not None
    assert list(report.txt.unwritten) == [str(tmp_path / "txt/sub/deep.txt")]
    assert {path.name for path in (tmp_path / "txt").glob("*.txt")} == {"a.txt", "b.txt", "c.txt"}
    assert (tmp_path / "safeboxes.jsonl").read_text()
    assert rows(tmp_path / "c.duckdb", "SELECT outcome FROM builds") == [("finished",)]


def test_sidecars_that_cannot_be_written_are_named_and_the_build_row_is_closed(
    source: Path, tmp_path: Path
) -> None:
    (tmp_path / "px_scales.jsonl").mkdir()
    with pytest.raises(InputError, match="sidecars cannot be written"):
        build(source, tmp_path / "c.duckdb")
    assert rows(tmp_path / "c.duckdb", "SELECT outcome FROM builds") == [("interrupted",)]
    (tmp_path / "px_scales.jsonl").rmdir()
    assert build(source, tmp_path / "c.duckdb").n_read == 0


def test_a_txt_of_two_pictures_speaks_when_one_of_them_goes(tmp_path: Path) -> None:
    draw(tmp_path / "in/a.png", "read")
    draw(tmp_path / "in/a.bmp", "read too")
    (tmp_path / "in/a.txt").write_text("given")
    assert build(tmp_path / "in", tmp_path / "c.duckdb").failures == {"bad_txt": 2}
    (tmp_path / "in/a.bmp").unlink()
    assert build(tmp_path / "in", tmp_path / "c.duckdb").failures == {}
    assert texts(tmp_path / "c.duckdb") == {"a.png": "given"}
