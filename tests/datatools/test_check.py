"""`check` finds what was tampered with; `import` takes over what others made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_reader import draw
from test_build import build, rows

from datatools.catalog import open_catalog
from datatools.check import check_catalog
from datatools.errors import InputError
from datatools.importing import Sources, import_sidecars, read_sources


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        draw(tmp_path / "in" / f"{name}.png", f"word {name}")
    (tmp_path / "in/b.txt").write_text("given")
    build(tmp_path / "in", tmp_path / "c.duckdb")
    return tmp_path / "c.duckdb"


def problems(catalog: Path, *, hash_files: bool = False) -> set[tuple[str, str]]:
    with open_catalog(catalog) as opened:
        return {(problem.what, problem.key) for problem in check_catalog(opened, hash_files=hash_files)}


def test_an_untouched_catalog_holds(catalog: Path) -> None:
    assert problems(catalog, hash_files=True) == set()


TAMPERED = {
    "transcription does not follow from its readings": (
        "UPDATE store.spoken SET text = 'x' WHERE key = 'a.png'",
        "a.png",
    ),
    "two rows of pictures": ("INSERT INTO store.pictures FROM store.pictures WHERE key = 'b.png'", "b.png"),
    "rows without a picture": ("DELETE FROM store.pictures WHERE key = 'c.png'", "c.png"),
    "safebox outside the picture": (
        "UPDATE store.spoken SET \"right\" = 9999 WHERE key = 'a.png'",
        "a.png",
    ),
    "safeboxes.jsonl differs from the catalog": (
        "UPDATE store.spoken SET top = 1 WHERE key = 'c.png'",
        "c.png",
    ),
    "failed without a cause": ("UPDATE store.pictures SET status = 'failed' WHERE key = 'a.png'", "a.png"),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_rows_that_were_tampered_with_are_found(catalog: Path, what: str) -> None:
    sql, key = TAMPERED[what]
    with open_catalog(catalog, "write") as opened:
        opened.execute(sql)
    assert (what, key) in problems(catalog)


def test_files_that_changed_are_found(catalog: Path, tmp_path: Path) -> None:
    a, b = tmp_path / "in/a.png", tmp_path / "in/b.png"
    stat = b.stat()
    a.unlink()
    data = bytearray(b.read_bytes())
    data[-20] ^= 1
    b.write_bytes(data)
    draw(tmp_path / "in/c.png", "something longer")
    os.utime(b, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (tmp_path / "px_scales.jsonl").unlink()
    expected = {
        ("file is gone", "a.png"),
        ("file has changed", "c.png"),
        ("sidecar is missing", "px_scales.jsonl"),
    }
    assert problems(catalog) == expected
    assert problems(catalog, hash_files=True) == expected | {
        ("file has other bytes at the same size and time", "b.png")
    }


def test_a_data_set_of_the_forks_is_taken_over_without_a_reader(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        draw(tmp_path / "in" / f"{name}.png", "unread")
        (tmp_path / "in" / f"{name}.txt").write_text(f"text of {name}")
    (tmp_path / "boxes.json").write_text('{"a": [1, 2, 30.5, 20], "nobody": [0, 0, 1, 1]}')
    (tmp_path / "px.json").write_text('{"a": [2, 1.5]}')
    (tmp_path / "sizes.json").write_text('{"b": [32, 64]}')
    (tmp_path / "capts.json").write_text('{"c": ["one", "two"]}')
    path = tmp_path / "c.duckdb"
    build(tmp_path / "in", path, ocr=())
    with open_catalog(path, "write") as opened:
        done = import_sidecars(
            opened,
            read_sources(
                Sources(
                    safeboxes=tmp_path / "boxes.json",
                    px_scales=tmp_path / "px.json",
                    original_sizes=tmp_path / "sizes.json",
                    captions=(tmp_path / "capts.json",),
                )
            ),
        )
    assert [(file.what, file.matched.unmatched) for file in done] == [
        ("safebox", ["nobody"]),
        ("px_scale", []),
        ("original_size", []),
        ("captions", []),
    ]
    assert rows(path, 'SELECT key, "left", top, "right", bottom, source FROM safeboxes') == [
        ("a.png", 1, 2, 30.5, 20, "given")
    ]
    assert rows(path, "SELECT key, sx, sy FROM px_scales ORDER BY key") == [
        ("a.png", 2, 1.5),
        ("b.png", 2, 0.5),
    ]
    assert rows(path, "SELECT text, source FROM transcriptions WHERE key = 'a.png'") == [
        ("text of a", "given")
    ]
    assert problems(path) == set()
    # Given boxes stand before those that a reader finds later.
    build(tmp_path / "in", path)
    assert rows(path, "SELECT source FROM safeboxes WHERE key = 'a.png'") == [("given",)]


def test_a_broken_sidecar_is_a_problem_like_others(catalog: Path) -> None:
    (catalog.parent / "safeboxes.jsonl").write_text("{broken")
    os.utime(catalog.parent / "in/a.png")
    found = problems(catalog)
    assert ("file has changed", "a.png") in found
    assert "sidecar cannot be read" in {what for what, _ in found}


def test_a_box_that_ends_before_it_begins_is_refused_before_anything_is_written(catalog: Path) -> None:
    boxes = catalog.parent / "boxes.jsonl"
    boxes.write_text('{"key": "a.png", "safebox": [50, 0, 10, 5]}')
    with pytest.raises(InputError, match=r"boxes\.jsonl.*'a\.png' ends before it begins"):
        read_sources(Sources(safeboxes=boxes))
