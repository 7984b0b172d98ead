"""What leaves a catalog can be used by others and means the same there."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from small_reader import draw
from test_build import build

from datatools.catalog import open_catalog
from datatools.catalog.duplicates import near_duplicates
from datatools.check import check_catalog
from datatools.decode import decode
from datatools.errors import InputError
from datatools.export import ExportFormat, ExportReport, export_catalog
from datatools.export.pack import pack_catalog


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    source = folder / "in"
    draw(source / "a.png", "one")
    draw(source / "sub/a.png", "two\nlines")
    draw(source / "sub_a.png", "meets sub/a")
    draw(source / "none.png", "")
    turned = Image.open(draw(folder / "turned.png", "turned"))
    exif = Image.Exif()
    exif[274] = 4  # upside down: the reader sees the first row where the file has its last
    turned.transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(source / "turned.png", exif=exif)
    (source / "bad.png").write_bytes(b"")
    (source / "captions.jsonl").write_text('{"key": "a.png", "captions": ["a caption"]}\n')
    build(source, folder / "c.duckdb")
    return folder / "c.duckdb"


def export(catalog: Path, out: Path, form: ExportFormat, **options: object) -> ExportReport:
    with open_catalog(catalog) as opened:
        return export_catalog(opened, out, form, **options)  # type: ignore[arg-type]


def test_parquet_holds_what_is_known(catalog: Path, tmp_path: Path) -> None:
    assert export(catalog, tmp_path / "out", "parquet").n_written == 5
    rows = {row["key"]: row for row in pq.read_table(tmp_path / "out/catalog.parquet").to_pylist()}
    assert rows["a.png"]["captions"] == ["a caption"]
    assert rows["sub/a.png"]["text"] == "two\nlines"
    assert rows["sub/a.png"]["safebox"] == [0, 0, 25, 18]
    assert rows["none.png"]["safebox"] is None


def test_webdataset_shards_hold_the_same_bytes(catalog: Path, tmp_path: Path) -> None:
    export(catalog, tmp_path / "out", "webdataset", shard_pictures=2)
    shards = sorted((tmp_path / "out").iterdir())
    assert [shard.name for shard in shards] == ["000000.tar", "000001.tar", "000002.tar"]
    samples: dict[str, dict[str, bytes]] = {}
    for shard in shards:
        with tarfile.open(shard) as tar:
            for member in tar:
                stem, _, kind = member.name.partition(".")
                file = tar.extractfile(member)
                assert file is not None
                samples.setdefault(stem, {})[kind] = file.read()
    source = catalog.parent / "in"
    for sample in samples.values():
        facts = json.loads(sample["json"])
        assert sample["png"] == (source / facts["key"]).read_bytes()
        assert sample["txt"].decode() == facts["text"]
    assert len(samples) == 5


def test_huggingface_shards_carry_the_pictures_and_their_features(catalog: Path, tmp_path: Path) -> None:
    export(catalog, tmp_path / "out", "huggingface", shard_pictures=3)
    shards = sorted((tmp_path / "out/data").iterdir())
    assert [shard.name for shard in shards] == ["train-00000.parquet", "train-00001.parquet"]
    table = pq.read_table(shards[0])
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    row = table.to_pylist()[0]
    assert Image.open(io.BytesIO(row["image"]["bytes"])).size == (row["width_px"], row["height_px"])


def test_huggingface_shards_load_with_load_dataset(catalog: Path, tmp_path: Path) -> None:
    export(catalog, tmp_path / "out", "huggingface")
    loaded = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded["key"][0] == "a.png"
    assert loaded[0]["image"].size == (64, 32)


def test_the_forks_folder_means_the_same_to_a_program_that_ignores_orientation(
    catalog: Path, tmp_path: Path
) -> None:
    export(catalog, tmp_path / "out", "fork")
    images = tmp_path / "out/images"
    texts = {path.stem: path.read_text() for path in images.glob("*.txt")}
    assert texts == {
        "a": "one",
        "none": "",
        "sub_a": "two\nlines",
        "sub_a_2": "meets sub/a",
        "turned": "turned",
    }
    boxes = json.loads((tmp_path / "out/safeboxes.jsonl").read_text())
    assert boxes["sub_a"] == [0, 0, 25, 18]
    assert "none" not in boxes
    assert json.loads((tmp_path / "out/capts.json").read_text()) == {"a": ["a caption"]}
    seen = np.asarray(Image.open(images / "turned.png"))
    assert np.array_equal(seen, decode((catalog.parent / "in/turned.png").read_bytes()))


def test_pictures_that_went_or_changed_are_counted_and_left_out(tmp_path: Path) -> None:
    source = tmp_path / "in"
    for name in ("a", "b", "c"):
        draw(source / f"{name}.png", name)
    build(source, tmp_path / "c.duckdb")
    (source / "a.png").unlink()
    draw(source / "b.png", "changed")
    report = export(tmp_path / "c.duckdb", tmp_path / "out", "fork")
    assert report.n_written == 1
    assert report.failures == {"missing": 1, "changed since it was catalogued": 1}


def test_a_folder_in_use_is_refused_and_a_failed_export_leaves_none(
    catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    with pytest.raises(InputError, match="is there already"):
        export(catalog, tmp_path / "out", "fork")
    monkeypatch.setattr("datatools.export.forms._as_png", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(catalog, tmp_path / "new", "fork")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def photo(path: Path, text: str, seed: int, size: tuple[int, int] = (64, 32)) -> None:
    """Coarse random blocks, which perceptual hashes tell apart, with `text` in the first row."""
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 8, 3), dtype=np.uint8)
    image = Image.fromarray(blocks).resize(size, Image.Resampling.BICUBIC)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.asarray(image).copy()
    pixels[0, 0] = len(text)
    pixels[0, 1 : 1 + len(text), 0] = list(text.encode())
    Image.fromarray(pixels).save(path)


def test_near_duplicates_are_alike_by_looks_and_by_text(tmp_path: Path) -> None:
    photo(tmp_path / "in/small.png", "same words", 1)
    photo(tmp_path / "in/large.png", "same words", 1, (128, 64))
    photo(tmp_path / "in/other text.png", "not these", 1)
    photo(tmp_path / "in/other picture.png", "same words", 2)
    build(tmp_path / "in", tmp_path / "c.duckdb")
    with open_catalog(tmp_path / "c.duckdb") as opened:
        assert near_duplicates(opened).to_pylist() == [
            {"key": "large.png", "of": "large.png"},
            {"key": "small.png", "of": "large.png"},
        ]
    report = export(tmp_path / "c.duckdb", tmp_path / "out", "parquet", drop_duplicates=True)
    assert report.n_written == 3
    keys = pq.read_table(tmp_path / "out/catalog.parquet")["key"].to_pylist()
    assert keys == ["large.png", "other picture.png", "other text.png"]


def test_names_that_become_too_long_are_shortened_and_cost_no_export(tmp_path: Path) -> None:
    names = ["x" * 251 + ".png", f"{'deep folder/' * 30}a.png", f"{'deep folder/' * 30}b.png"]
    for name in names:
        draw(tmp_path / "in" / name, "x")
    build(tmp_path / "in", tmp_path / "c.duckdb")
    assert export(tmp_path / "c.duckdb", tmp_path / "out", "fork").n_written == 3
    assert sorted(path.name[-5:] for path in (tmp_path / "out/images").glob("*.png")) == [
        "a.png",
        "b.png",
        "x.png",
    ]
    with open_catalog(tmp_path / "c.duckdb") as catalog:
        assert pack_catalog(catalog, tmp_path / "packed", 16).n_written == 3
    with open_catalog(tmp_path / "packed/catalog.duckdb") as packed:
        assert list(check_catalog(packed, hash_files=True)) == []
