"""The same pictures from every kind of source make the same catalog."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import fsspec
import pytest
from small_reader import draw
from test_build import build, rows, texts

from datatools.errors import InputError
from datatools.files.sources import fetch
from datatools.scan import scan

TEXTS = {"a.png": "one", "sub/b.png": "given", "sub/c.png": ""}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "in"
    draw(root / "a.png", "one")
    draw(root / "sub/b.png", "two")
    draw(root / "sub/c.png", "")
    (root / "sub/b.txt").write_text("given")
    return root


def test_a_glob_keys_pictures_below_its_fixed_part(folder: Path, tmp_path: Path) -> None:
    draw(folder / "sub/skipped.bmp", "no")
    build(f"{folder}/**/*.png", tmp_path / "c.duckdb")  # type: ignore[arg-type]
    assert texts(tmp_path / "c.duckdb") == TEXTS
    with pytest.raises(InputError, match="nothing matches"):
        scan(f"{folder}/*.jpeg")


def test_a_list_names_pictures_and_misses_none_silently(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "pipe.png")  # to open it would wait for a writer
    names = f"\ufeffa.png\n# mine\n\n{folder}/sub/b.png\ngone.png\npipe.png\n"
    (folder / "some.lst").write_text(names, encoding="utf-8")
    report = build(folder / "some.lst", tmp_path / "c.duckdb")
    assert texts(tmp_path / "c.duckdb") == {"a.png": "one", "sub/b.png": "given"}
    assert report.failures == {"missing": 1, "unreadable": 1}
    (folder / "some.lst").write_text("../outside.png\n")
    with pytest.raises(InputError, match="line 1"):
        scan(folder / "some.lst")


def pack_tar(folder: Path, path: Path, names: list[str]) -> None:
    with tarfile.open(path, "w") as tar:
        for name in names:
            tar.add(folder / name, arcname=name)


def test_shards_are_read_where_they_lie(folder: Path, tmp_path: Path) -> None:
    pack_tar(folder, tmp_path / "s-000.tar", ["a.png"])
    pack_tar(folder, tmp_path / "s-001.tar", ["sub/b.png", "sub/b.txt", "sub/c.png"])
    catalog = tmp_path / "c.duckdb"
    build(f"{tmp_path}/s-*.tar", catalog)  # type: ignore[arg-type]
    assert texts(catalog) == {"s-000/a.png": "one", "s-001/sub/b.png": "given", "s-001/sub/c.png": ""}
    for key, uri in rows(catalog, "SELECT key, uri FROM pictures"):
        with fsspec.open(str(uri), "rb") as file:  # what the trainer opens
            data = file.read()
        assert data == (folder / str(key).split("/", 1)[1]).read_bytes() == fetch(str(uri))
    assert build(f"{tmp_path}/s-*.tar", catalog).n_unchanged == 3  # type: ignore[arg-type]


def test_members_with_hostile_names_become_rows_and_reach_no_file(folder: Path, tmp_path: Path) -> None:
    data = (folder / "a.png").read_bytes()
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name in ("../../evil.png", "/abs.png", "good.png"):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    before = sorted(tmp_path.rglob("*"))
    report = build(tmp_path / "x.tar", tmp_path / "out/c.duckdb", write_txt=tmp_path / "out/txt")
    assert texts(tmp_path / "out/c.duckdb") == {"x/good.png": "one"}
    assert report.failures == {"bad_name": 2}
    after = [path for path in sorted(tmp_path.rglob("*")) if tmp_path / "out" not in (path, *path.parents)]
    assert after == before


def test_what_cannot_be_written_to_says_so(folder: Path, tmp_path: Path) -> None:
    pack_tar(folder, tmp_path / "s.tar", ["a.png"])
    with pytest.raises(InputError, match="no folder to write"):
        build(tmp_path / "s.tar", tmp_path / "c.duckdb", write_txt="beside")
    (tmp_path / "bad.tar").write_bytes(b"not a tar file")
    with pytest.raises(InputError, match=r"bad\.tar is not"):
        scan(tmp_path / "bad.tar")
    with pytest.raises(InputError, match="nosuch"):
        scan("nosuch://bucket/x")


def test_fsspec_lists_memory(folder: Path) -> None:
    memory = fsspec.filesystem("memory")
    for name in ("a.png", "sub/b.png", "sub/.hidden.png", "notes.md"):
        memory.pipe(f"/shelf/{name}", (folder / "a.png").read_bytes())
    listing = scan("memory://shelf")
    assert [image.key for image in listing.images] == ["a.png", "sub/b.png"]
    assert fetch(listing.images[0].uri) == (folder / "a.png").read_bytes()
    assert [image.key for image in scan("memory://shelf/sub/*.png").images] == ["b.png"]
    with pytest.raises(InputError, match="nothing at"):
        scan("memory://nowhere")


def test_a_bucket_is_a_source_like_a_folder(
    folder: Path, tmp_path: Path, s3: fsspec.AbstractFileSystem
) -> None:
    s3.mkdir("pictures")
    s3.put(str(folder), "pictures/in", recursive=True)
    pack_tar(folder, tmp_path / "s.tar", ["a.png", "sub/b.png", "sub/b.txt", "sub/c.png"])
    s3.put(str(tmp_path / "s.tar"), "pictures/shards/s.tar")
    s3.pipe("pictures/in/sub/c.caption", b"nothing\nat all")
    s3.pipe("pictures/in/captions.jsonl", b'{"key": "a.png", "captions": ["a word"]}')
    s3.pipe("pictures/more.json", b'{"b": "two words"}')
    build("s3://pictures/in", tmp_path / "c.duckdb", captions=("s3://pictures/more.json",))  # type: ignore[arg-type]
    assert texts(tmp_path / "c.duckdb") == TEXTS
    captions = rows(tmp_path / "c.duckdb", "SELECT key, caption FROM captions ORDER BY key, position")
    assert captions == [
        ("a.png", "a word"),
        ("sub/b.png", "two words"),
        ("sub/c.png", "nothing"),
        ("sub/c.png", "at all"),
    ]
    assert build("s3://pictures/in", tmp_path / "c.duckdb").n_unchanged == 3  # type: ignore[arg-type]
    build("s3://pictures/shards/*.tar", tmp_path / "tar.duckdb")  # type: ignore[arg-type]
    assert texts(tmp_path / "tar.duckdb") == {f"s/{key}": text for key, text in TEXTS.items()}
    build("s3://pictures/in", tmp_path / "s/c.duckdb", ocr=(), max_edge_px=32)  # type: ignore[arg-type]
    sizes = rows(
        tmp_path / "s/c.duckdb", "SELECT width_px, height_px, source FROM pictures JOIN px_scales USING (key)"
    )
    assert sizes == [(32, 16, "shrunk")] * 3
    with pytest.raises(InputError, match="nobucket"):
        scan("s3://nobucket/x")
