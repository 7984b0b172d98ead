"""What is found in a folder."""

from __future__ import annotations

import os
import tarfile
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from datatools.errors import InputError
from datatools.files.sources import open_source
from datatools.scan import scan


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_pictures_are_found_in_the_order_of_their_keys(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a/z.JPG", "a.png", "a/y.webp", "notes.md", "b.txt", ".hidden.png", ".git/x.png")
    listing = scan(tmp_path)
    assert [image.key for image in listing.images] == ["a.png", "a/y.webp", "a/z.JPG", "b.png"]
    assert list(listing.texts) == ["b.txt"]
    assert listing.images[0].uri == str(tmp_path / "a.png")
    assert listing.images[0].size_bytes == 1
    assert listing.images[0].mtime_ns == (tmp_path / "a.png").stat().st_mtime_ns


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.png", "out/b.png")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    (tmp_path / "in/other").symlink_to(tmp_path / "out")
    (tmp_path / "in/b.png").symlink_to(tmp_path / "out/b.png")
    assert [image.key for image in scan(tmp_path / "in").images] == ["a.png"]


def test_keys_are_in_normal_form_and_a_clash_is_told(tmp_path: Path) -> None:
    composed = unicodedata.normalize("NFC", "é.png")
    touch(tmp_path, composed, unicodedata.normalize("NFD", composed))
    listing = scan(tmp_path)
    assert [image.key for image in listing.images] == [composed]
    assert [reason for _, reason in listing.unnamed] == [
        "another file has the same name in Unicode normal form C"
    ]


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.png", "closed/b.png")
    scandir = os.scandir

    def refuse(path: str) -> object:  # chmod does not stop root, whom tests may run as
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match="closed"):
        scan(tmp_path)


def test_no_two_files_have_one_name_even_when_it_is_refused(tmp_path: Path) -> None:
    for shelf in "abc":
        (tmp_path / shelf).mkdir()
        with tarfile.open(tmp_path / shelf / "s.tar", "w") as tar:
            tar.addfile(tarfile.TarInfo("x.png"))
    listing = scan(f"{tmp_path}/*/s.tar")
    assert [image.key for image in listing.images] == ["s/x.png"]
    assert [image.key for image, _ in listing.unnamed] == [r"s/x.png\2", r"s/x.png\3"]


def test_a_list_may_say_a_path_twice_and_by_way_of_links(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.png", "in/sub/b.png", "out/c.png")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    paths = tmp_path / "in/some.lst"
    paths.write_text(f"a.png\na.png\n./a.png\nsub/../a.png\n{tmp_path}/link/sub/b.png\ngone.png\ngone.png\n")
    listing = scan(paths)
    assert [image.key for image in listing.images] == ["a.png", "gone.png", "sub/b.png"]
    assert listing.unnamed == []
    (tmp_path / "out/back.png").symlink_to(tmp_path / "in/a.png")
    for outside in (tmp_path / "out/c.png", tmp_path / "out/back.png", "../out/c.png"):
        paths.write_text(f"a.png\n{outside}\n")
        with pytest.raises(InputError, match="line 2"):
            scan(paths)


def test_folders_may_lie_deeper_than_the_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(1100):
        Path("a").mkdir()
        os.chdir("a")
    Path("x.png").touch()
    assert [image.key for image in scan(tmp_path).images] == ["a/" * 1100 + "x.png"]
    for _ in range(1100):  # for those who clean up, and recurse
        Path("x.png").unlink(missing_ok=True)
        os.chdir("..")
        Path("a").rmdir()


def test_a_txt_may_be_written_in_capitals_as_its_picture_is(tmp_path: Path) -> None:
    touch(tmp_path, "A.JPG", "A.TXT", "b.png", "b.TXT", "b.txt")
    texts = scan(tmp_path).texts
    assert {key: text.uri for key, text in texts.items()} == {
        "A.txt": str(tmp_path / "A.TXT"),
        "b.txt": str(tmp_path / "b.txt"),
    }


def test_globs_and_shards_leave_out_what_folders_leave_out(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.png", "in/sub/b.png", "in/.hidden/c.png", "in/.d.png")
    (tmp_path / "in/link").symlink_to("sub")
    keys = ["a.png", "sub/b.png"]
    assert [image.key for image in scan(f"{tmp_path}/in/**/*.png").images] == keys
    assert [image.key for image in scan(f"{tmp_path}/in/*/*.png").images] == ["sub/b.png"]
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        tar.add(tmp_path / "in", ".")  # as `tar cf s.tar .` does
    assert [image.key for image in scan(tmp_path / "s.tar").images] == [f"s/{key}" for key in keys]


def test_a_hidden_folder_is_not_even_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/b.png", ".trash/c.png")
    looked: list[str] = []
    look = os.scandir

    def watched(folder: Path | str) -> Any:
        looked.append(Path(folder).name)
        return look(folder)

    monkeypatch.setattr(os, "scandir", watched)
    assert [file.relative for file in open_source(str(tmp_path)).files] == ["a/b.png"]
    assert "a" in looked and ".trash" not in looked
