"""Pictures stored smaller than their source: what the catalog, the trainer and exports then see."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import fsspec
import numpy as np
import pytest
from inline_runner import InlineRunner
from PIL import Image
from small_reader import OPENER
from test_build import build, rows
from test_sources import pack_tar

from datatools.catalog import open_catalog
from datatools.check import check_catalog
from datatools.decode import Limits, decode
from datatools.errors import InputError
from datatools.export import export_catalog
from datatools.export.pack import pack_catalog
from datatools.importing import Sources, import_sidecars, read_sources
from datatools.shrink import shrunk_size_px
from txtdiff.data.config import DataConfig
from txtdiff.data.dataset import PictureDataset
from txtdiff.data.source import read_rows

LARGE = {"a.png": (200, 100), "sub/b.jpg": (90, 180), "sub/strip.bmp": (400, 16), "small.png": (60, 50)}
STORED = {"a.png": (64, 32), "sub/b.jpg": (32, 64), "sub/strip.bmp": (200, 8), "small.png": (60, 50)}


@pytest.fixture(autouse=True)
def _inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datatools.build.LocalRunner", InlineRunner)


def paint(path: Path, size_px: tuple[int, int]) -> Path:
    """A picture in which SmallReader reads "" whatever its size: the first pixel is black."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = np.zeros((size_px[1], size_px[0], 3), np.uint8)
    ramp[size_px[1] // 2 :, size_px[0] // 2 :] = (200, 40, 90)
    Image.fromarray(ramp).save(path)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, size_px in LARGE.items():
        paint(tmp_path / "in" / name, size_px)
    (tmp_path / "in/a.txt").write_text("mine")
    return tmp_path / "in"


def sizes(catalog: Path) -> dict[object, tuple[object, object]]:
    found = rows(catalog, "SELECT key, width_px, height_px FROM pictures")
    return {key: (width, height) for key, width, height in found}


def copies(catalog: Path) -> list[Path]:
    return sorted(catalog.with_name(f"{catalog.name}.pictures").rglob("*.*"))


def problems(catalog: Path) -> list[str]:
    with open_catalog(catalog) as opened:
        return [problem.what for problem in check_catalog(opened, hash_files=True)]


def test_the_catalog_is_about_the_shrunk_pictures(source: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "c.duckdb"
    assert build(source, catalog, max_edge_px=64).px_scales == {"shrunk": 3}
    assert sizes(catalog) == STORED
    for key, uri, width, height in rows(catalog, "SELECT key, uri, width_px, height_px FROM pictures"):
        data = Path(str(uri)).read_bytes()
        assert decode(data).shape == (height, width, 3)
        assert (str(uri) == str(source / str(key))) == (key == "small.png")
    suffixes = [path.suffix for path in copies(catalog)]
    assert sorted(suffixes) == [".jpg", ".png", ".png"]  # what was compressed with losses stays so
    scales = [json.loads(line) for line in (tmp_path / "px_scales.jsonl").read_text().splitlines()]
    assert scales == [
        {"key": "a.png", "px_scale": [0.32, 0.32]},
        {"key": "sub/b.jpg", "px_scale": [0.355556, 0.355556]},
        {"key": "sub/strip.bmp", "px_scale": [0.5, 0.5]},
    ]
    assert {row[0] for row in rows(catalog, "SELECT source FROM px_scales")} == {"shrunk"}
    assert rows(catalog, "SELECT text FROM transcriptions WHERE key = 'a.png'") == [("mine",)]
    assert problems(catalog) == []
    assert build(source, catalog).n_unchanged == 4  # the value is remembered


def test_another_value_does_again_only_what_it_must(source: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "c.duckdb"
    build(source, catalog)
    assert build(source, catalog, max_edge_px=64).n_read == 3
    assert build(source, catalog, max_edge_px=100).n_read == 2  # the strip keeps its shorter edge
    assert sizes(catalog)["a.png"] == (100, 50)
    assert len(copies(catalog)) == 3
    assert build(source, catalog, max_edge_px=10_000).n_read == 3
    assert sizes(catalog) == LARGE
    assert copies(catalog) == []
    assert rows(catalog, "SELECT * FROM px_scales") == []


def test_copies_follow_their_pictures(source: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "c.duckdb"
    build(source, catalog, max_edge_px=64)
    shutil.copy(source / "a.png", source / "twin.png")
    report = build(source, catalog)
    assert (report.n_reused, len(copies(catalog))) == (1, 3)
    assert sizes(catalog)["twin.png"] == STORED["a.png"]
    (source / "a.png").unlink()
    (source / "sub/b.jpg").unlink()
    build(source, catalog)
    assert len(copies(catalog)) == 2  # the twin keeps what both had
    copies(catalog)[0].unlink()
    assert problems(catalog) == ["shrunk picture is gone"]
    assert build(source, catalog).n_read == 1
    copies(catalog)[0].write_bytes(b"x")
    assert problems(catalog) == ["shrunk picture has changed"]


def test_a_catalog_inside_its_source_does_not_find_its_own_copies(source: Path) -> None:
    build(source, source / "c.duckdb", max_edge_px=64)
    assert build(source, source / "c.duckdb").n_found == len(LARGE)
    moved = source.rename(source.with_name("moved"))
    assert build(moved, moved / "c.duckdb").n_unchanged == len(LARGE)
    assert problems(moved / "c.duckdb") == []


def test_a_further_reader_reads_the_copies(source: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "c.duckdb"
    build(source, catalog, max_edge_px=64)
    before = rows(catalog, "SELECT * EXCLUDE (build) FROM pictures ORDER BY key")
    for name in LARGE:  # as it is: only what the copies hold can be read
        stat = (source / name).stat()
        (source / name).write_bytes(b"\0" * stat.st_size)
        __import__("os").utime(source / name, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    report = build(source, catalog, ocr=("small", "shouting"))
    assert report.failures == {"unknown_format": 1}  # small.png has no copy
    engines = "SELECT DISTINCT engine FROM store.readings JOIN store.readers USING (reader) ORDER BY 1"
    assert rows(catalog, engines) == [("shouting",), ("small",)]
    after = rows(catalog, "SELECT * EXCLUDE (build) FROM pictures WHERE status = 'ok' ORDER BY key")
    assert after == [row for row in before if row[0] != "small.png"]


def test_what_others_wrote_is_about_their_own_files(source: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "out/c.duckdb"
    (tmp_path / "boxes.jsonl").write_text('{"key": "a.png", "safebox": [10, 20, 110, 70]}\n')
    (tmp_path / "scales.jsonl").write_text('{"key": "a.png", "px_scale": [2, 1]}\n')
    build(source, catalog, max_edge_px=64)
    given = read_sources(Sources(safeboxes=tmp_path / "boxes.jsonl", px_scales=tmp_path / "scales.jsonl"))
    with open_catalog(catalog, "write") as opened:
        import_sidecars(opened, given)
    box = """SELECT "left", top, "right", bottom FROM safeboxes WHERE key = 'a.png'"""
    scale = "SELECT sx, sy, source FROM px_scales WHERE key = 'a.png'"
    assert rows(catalog, box) == [pytest.approx((3.2, 6.4, 35.2, 22.4))]
    assert rows(catalog, scale) == [(pytest.approx(0.64), pytest.approx(0.32), "given")]
    assert problems(catalog) == []
    with open_catalog(catalog) as opened:
        pack_catalog(opened, tmp_path / "packed", 16)
    packed = tmp_path / "packed/catalog.duckdb"
    assert rows(packed, box.replace("a.png", "a.png.bmp")) == [pytest.approx((1.6, 3.2, 17.6, 11.2))]
    assert rows(packed, scale.replace("a.png", "a.png.bmp"))[0][:2] == pytest.approx((0.32, 0.16))
    build(source, catalog, max_edge_px=10_000)
    assert rows(catalog, box) == [(10, 20, 110, 70)]


def test_trainer_and_exports_take_the_copies(source: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "c.duckdb"
    build(source, catalog, max_edge_px=64)
    config = DataConfig(catalog=catalog)
    found = read_rows(config, "unused")
    by_key = {found[i].key: found[i] for i in range(len(found))}
    assert {key: row.size_px for key, row in by_key.items()} == STORED
    assert by_key["a.png"].px_scale == pytest.approx(0.32)
    sample = PictureDataset(found, config, resolution_px=16, seed=0, uses_text=False)[0]
    assert (sample.pixels.shape, sample.failures) == ((16, 16, 3), ())
    with open_catalog(catalog) as opened:
        report = export_catalog(opened, tmp_path / "web", "webdataset")
        assert (report.n_written, report.failures) == (4, {})
    with fsspec.open(f"tar://000000002.jpg::{tmp_path}/web/000000.tar", "rb") as file:
        assert Image.open(io.BytesIO(file.read())).size == STORED["sub/b.jpg"]
    with fsspec.open(f"tar://000000003.png::{tmp_path}/web/000000.tar", "rb") as file:  # key: strip.bmp
        assert Image.open(io.BytesIO(file.read())).format == "PNG"


def test_shards_and_remote_sources_are_shrunk_as_well(source: Path, tmp_path: Path) -> None:
    pack_tar(source, tmp_path / "s.tar", list(LARGE))
    build(tmp_path / "s.tar", tmp_path / "t/c.duckdb", max_edge_px=64)
    assert sizes(tmp_path / "t/c.duckdb") == {f"s/{key}": size for key, size in STORED.items()}
    memory = fsspec.filesystem("memory")
    for name in LARGE:
        memory.pipe(f"/large/{name}", (source / name).read_bytes())
    build("memory://large", tmp_path / "m/c.duckdb", max_edge_px=64)  # type: ignore[arg-type]
    assert sizes(tmp_path / "m/c.duckdb") == STORED
    assert problems(tmp_path / "m/c.duckdb") == []


def test_a_kill_leaves_no_copy_behind_for_good(source: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "c.duckdb"
    program = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from datatools.build import build_catalog
from datatools.config import BuildSettings
from datatools.bookkeeping.record import Recorder
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
Recorder.commit = die
settings = BuildSettings(ocr=("small",), workers=1, max_edge_px=64)
build_catalog(Path({str(source)!r}), Path({str(catalog)!r}), settings, opener={OPENER!r})"""
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(copies(catalog)) == 3
    (copies(catalog)[0].parent / f".{'0' * 64}.png.abc.tmp").touch()
    (source / "a.png").unlink()
    build(source, catalog)
    assert len(copies(catalog)) == 2
    assert problems(catalog) == []
    outcomes = rows(catalog, "SELECT outcome FROM builds ORDER BY build")
    assert outcomes == [("died",), ("finished",)]


def test_a_full_disk_while_a_copy_is_stored_is_said_and_closes_the_build(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("datatools.shrink.write_bytes_atomic", full)
        with pytest.raises(InputError, match="No space left"):
            build(source, tmp_path / "c.duckdb", max_edge_px=64)
    assert rows(tmp_path / "c.duckdb", "SELECT outcome FROM builds") == [("stopped",)]
    build(source, tmp_path / "c.duckdb")
    assert sizes(tmp_path / "c.duckdb") == STORED
    assert problems(tmp_path / "c.duckdb") == []


def test_sizes_keep_their_shape_and_a_shorter_edge_that_can_be_decoded() -> None:
    assert shrunk_size_px((4000, 3000), 1000, 8) == (1000, 750)
    assert shrunk_size_px((3000, 4000), 1000, 8) == (750, 1000)
    assert shrunk_size_px((999, 1000), 1000, 8) == (999, 1000)
    assert shrunk_size_px((100_000, 10), 1000, 8) == (80_000, 8)


def test_the_trainer_decodes_with_the_limits_of_the_catalog(tmp_path: Path) -> None:
    paint(tmp_path / "in/a.png", (8, 4))
    catalog = tmp_path / "c.duckdb"
    build(tmp_path / "in", catalog, limits=Limits(min_edge_px=4, max_pixels=40))
    build(tmp_path / "in", catalog)
    rows_ = read_rows(DataConfig(catalog=catalog), "unused")
    assert (rows_.limits.min_edge_px, rows_.limits.max_pixels) == (4, 64_000_000)
    sample = PictureDataset(rows_, DataConfig(catalog=catalog), resolution_px=4, seed=0, uses_text=False)[0]
    assert sample.failures == ()
