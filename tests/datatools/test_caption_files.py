""".caption files and lists of captions, from folders, shards and memory."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest
from inline_runner import InlineRunner
from small_reader import draw
from test_build import build, rows
from test_sources import pack_tar

from datatools.catalog import open_catalog
from datatools.errors import InputError
from datatools.scan import scan
from datatools.sidecars import caption_files
from datatools.sidecars.captions import read_captions

CAPTIONS = "SELECT key, caption, position FROM captions ORDER BY key, source, position"


@pytest.fixture(autouse=True)
def _inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datatools.build.LocalRunner", InlineRunner)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    draw(tmp_path / "in/a.png", "one")
    draw(tmp_path / "in/sub/b.png", "two")
    (tmp_path / "in/a.caption").write_text("\ufeffa grey field \r\n\n  ein Wort: größer\n")
    (tmp_path / "in/sub/b.caption").write_text("")
    (tmp_path / "in/nobody.caption").write_text("no picture")
    return tmp_path / "in"


def test_every_line_of_a_caption_file_is_a_caption(source: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "c.duckdb"
    (source / "captions.jsonl").write_text('{"key": "a.png", "captions": "listed"}\n')
    report = build(source, catalog)
    assert (report.caption_files.n_files, report.caption_files.n_read) == (2, 2)
    assert rows(catalog, CAPTIONS) == [
        ("a.png", "a grey field", 0),
        ("a.png", "ein Wort: größer", 1),
        ("a.png", "listed", 0),
    ]


def test_only_what_changed_is_opened_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog, opened = tmp_path / "c.duckdb", []
    fetch = caption_files.fetch
    monkeypatch.setattr(caption_files, "fetch", lambda *a: (opened.append(a[0]), fetch(*a))[1])
    build(source, catalog)
    assert len(opened) == 2
    build(source, catalog)
    assert len(opened) == 2
    (source / "a.caption").write_text("other")
    build(source, catalog)
    assert rows(catalog, CAPTIONS) == [("a.png", "other", 0)]
    (source / "a.caption").unlink()
    (source / "sub/b.png").unlink()
    build(source, catalog)
    assert rows(catalog, CAPTIONS) == rows(catalog, "FROM store.caption_files") == []
    assert len(opened) == 3


def test_what_cannot_be_used_is_named_and_costs_nothing_else(source: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "c.duckdb"
    draw(source / "sub/b.bmp", "three")
    (source / "sub/b.caption").write_text("whose?")
    (source / "a.caption").write_bytes(b"\xff\xfe\x00")
    report = build(source, catalog)
    assert sorted(report.caption_files.refused) == [str(source / "a.caption"), str(source / "sub/b.caption")]
    assert "b.bmp, sub/b.png" in report.caption_files.refused[str(source / "sub/b.caption")]
    assert rows(catalog, CAPTIONS) == []
    assert report.n_read == 3
    (source / "sub/b.bmp").unlink()
    build(source, catalog)
    assert rows(catalog, CAPTIONS) == [("sub/b.png", "whose?", 0)]


def test_shards_globs_and_lists_bring_their_captions(source: Path, tmp_path: Path) -> None:
    pack_tar(source, tmp_path / "s.tar", ["a.png", "a.caption"])
    build(tmp_path / "s.tar", tmp_path / "tar.duckdb")
    expected = [("a.png", "a grey field", 0), ("a.png", "ein Wort: größer", 1)]
    assert rows(tmp_path / "tar.duckdb", CAPTIONS) == [(f"s/{key}", *rest) for key, *rest in expected]
    build(f"{source}/*.png", tmp_path / "glob.duckdb")  # type: ignore[arg-type]
    assert rows(tmp_path / "glob.duckdb", CAPTIONS) == expected


def test_remote_sources_bring_their_captions(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/talk/a.png", b"")
    memory.pipe("/talk/a.caption", b"near")
    memory.pipe("/talk/captions.jsonl", b'{"key": "a.png", "captions": ["far", "away"]}\n')
    listing = scan("memory://talk")
    assert read_captions(listing.caption_lists[0]).values == {"a.png": ["far", "away"]}
    with open_catalog(tmp_path / "c.duckdb", "write") as catalog:
        caption_files.sync_caption_files(catalog, listing)
        assert catalog.value("SELECT caption FROM captions") == "near"
    memory.pipe("/talk/bad.json", b"[]")
    for wrong in ("memory://talk/bad.json", "memory://talk/none.json"):
        with pytest.raises(InputError, match=wrong):
            read_captions(wrong)
