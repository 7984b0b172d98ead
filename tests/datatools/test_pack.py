"""A packed catalog says of the shrunk pictures what the old one said of the large ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_reader import draw
from test_build import build, rows

from datatools.catalog import open_catalog
from datatools.check import check_catalog
from datatools.decode import decode
from datatools.errors import InputError
from datatools.export.pack import pack_catalog
from datatools.importing import Sources, import_sidecars, read_sources
from txtdiff.data.config import DataConfig
from txtdiff.data.dataset import PictureDataset
from txtdiff.data.source import read_rows


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    draw(tmp_path / "in/a.png", "one\ntwo")
    draw(tmp_path / "in/sub/b.png", "read")
    (tmp_path / "in/sub/b.txt").write_text("given\ntext")
    Image.open(draw(tmp_path / "small.png", "tiny")).crop((0, 0, 64, 12)).save(tmp_path / "in/small.png")
    draw(tmp_path / "in/bad.png", "!raise")
    (tmp_path / "in/captions.jsonl").write_text('{"key": "a.png", "captions": ["x", "y"]}\n')
    (tmp_path / "px.json").write_text('{"b": [2, 3]}')
    (tmp_path / "boxes.json").write_text('{"b": [2, 4, 20, 30]}')
    build(tmp_path / "in", tmp_path / "c.duckdb")
    with open_catalog(tmp_path / "c.duckdb", "write") as catalog:
        given = read_sources(Sources(px_scales=tmp_path / "px.json", safeboxes=tmp_path / "boxes.json"))
        import_sidecars(catalog, given)
    with open_catalog(tmp_path / "c.duckdb") as catalog:
        assert pack_catalog(catalog, tmp_path / "out", 16).n_written == 3
    return tmp_path / "out/catalog.duckdb"


def test_everything_is_scaled_together(packed: Path) -> None:
    sizes = "SELECT key, width_px, height_px FROM pictures ORDER BY key"
    assert rows(packed, sizes) == [
        ("a.png.bmp", 32, 16),
        ("small.png.bmp", 64, 12),
        ("sub/b.png.bmp", 32, 16),
    ]
    assert rows(packed, "SELECT key, text, source FROM transcriptions ORDER BY key") == [
        ("a.png.bmp", "one\ntwo", "small"),
        ("small.png.bmp", "tiny", "small"),
        ("sub/b.png.bmp", "given\ntext", "given"),
    ]
    assert rows(packed, 'SELECT key, "left", top, "right", bottom FROM safeboxes ORDER BY key') == [
        ("a.png.bmp", 0, 0, 7.5, 9),
        ("small.png.bmp", 0, 0, 20, 8),
        ("sub/b.png.bmp", 1, 2, 10, 15),
    ]
    assert rows(packed, "SELECT key, sx, sy, source FROM px_scales ORDER BY key") == [
        ("a.png.bmp", 0.5, 0.5, "shrunk"),
        ("sub/b.png.bmp", 1, 1.5, "given"),
    ]
    assert rows(packed, "SELECT key, caption FROM captions ORDER BY position") == [
        ("a.png.bmp", "x"),
        ("a.png.bmp", "y"),
    ]
    assert rows(packed, "SELECT height_px FROM lines WHERE key = 'a.png.bmp'") == [(4,), (4,)]


def test_packed_pictures_are_the_shrunk_ones(packed: Path) -> None:
    for key, uri in rows(packed, "SELECT key, uri FROM pictures"):
        original = Image.fromarray(decode((packed.parents[1] / "in" / str(key)[:-4]).read_bytes()))
        pixels = decode(Path(str(uri)).read_bytes())
        expected = np.asarray(original.resize((pixels.shape[1], pixels.shape[0]), Image.Resampling.BICUBIC))
        assert np.array_equal(pixels, expected)


def test_a_packed_catalog_holds_and_can_be_built_further(packed: Path) -> None:
    with open_catalog(packed) as catalog:
        assert list(check_catalog(catalog, hash_files=True)) == []
    before = rows(packed, "SELECT * FROM transcriptions ORDER BY key")
    assert build(packed.parent / "pictures", packed).n_unchanged == 3
    assert rows(packed, "SELECT * FROM transcriptions ORDER BY key") == before


def test_a_packed_set_is_trained_from_wherever_it_lies(packed: Path, tmp_path: Path) -> None:
    """Copied elsewhere, its first place and the pictures it was made from gone: nothing else is needed."""
    moved = shutil.move(packed.parent, tmp_path / "moved")
    shutil.rmtree(tmp_path / "in")
    found = read_rows(DataConfig(folder=moved), "needed")
    assert [(found[i].key, found[i].text) for i in range(3)] == [
        ("a.png.bmp", "one\ntwo"),
        ("small.png.bmp", "tiny"),
        ("sub/b.png.bmp", "given\ntext"),
    ]
    assert (found[0].captions, found[2].px_scale) == (("x", "y"), 1.5)
    dataset = PictureDataset(found, DataConfig(), resolution_px=16, seed=0, uses_text=True)
    assert [dataset[i].failures for i in range(9)] == [()] * 9
    assert len(read_rows(DataConfig(folder=moved, where="n_lines = 2"), "needed")) == 2
    with pytest.raises(InputError, match=r"has no effect: .*packed set"):
        read_rows(DataConfig(folder=moved, captions=packed), "needed")
