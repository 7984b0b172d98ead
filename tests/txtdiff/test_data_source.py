"""Catalogs and folders become the same rows; filters, orders and complaints are told."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from catalogs import make_pictures, write_catalog
from PIL import Image

from datatools.catalog import open_catalog
from datatools.decode import Limits
from datatools.errors import InputError
from txtdiff.data.config import DataConfig
from txtdiff.data.crop import Box
from txtdiff.data.dataset import PictureDataset
from txtdiff.data.source import Rows, read_rows


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    folder = tmp_path_factory.mktemp("data") / "pictures"
    return folder, make_pictures(folder, 10)


@pytest.fixture(scope="module")
def catalog(pictures: tuple[Path, list[dict]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [dict(row) for row in pictures[1]]
    rows[1]["px_scale"] = (1.5, 2.0)
    rows[2]["captions"] = ["one", "two"]
    rows[3]["captions"] = []
    rows[6]["text"] = None
    return write_catalog(tmp_path_factory.mktemp("catalog") / "catalog.duckdb", rows[::-1])


def keys(rows: Rows) -> list[str]:
    return [rows[i].key for i in range(len(rows))]


def test_rows_of_a_catalog(catalog: Path, pictures: tuple[Path, list[dict]]) -> None:
    rows = read_rows(DataConfig(catalog=catalog), "needed")
    assert keys(rows) == [f"{i:03}.png" for i in range(10) if i != 6]  # nobody transcribed 006
    assert rows[1].px_scale == 2.0 and rows[0].px_scale == 1.0
    assert rows[2].captions == ("one", "two") and rows[3].captions == ()
    assert rows[0].safebox == Box(6, 10, 30, 26) and rows[4].safebox is None
    assert rows[4].text == "" and rows[0].text == pictures[1][0]["text"]
    assert rows[0].size_px == (48, 40)
    assert rows.n_with_safebox == 7
    lenders = {rows.lender(i / 50).key for i in range(50)}
    assert lenders == {
        key for key, row in zip(keys(rows), map(rows.__getitem__, range(9)), strict=True) if row.safebox
    }


@pytest.mark.parametrize(
    ("changes", "n"),
    [
        ({"where": "n_chars = 3"}, 7),
        ({"where": "source = 'test' and width_px > 1000 or false"}, 0),
        ({"require_captions": True}, 8),
        ({"min_file_size_bytes": 10**6}, 0),
        ({"min_image_size_px": 21}, 8),  # 001 was enlarged: 48 / 1.5 and 40 / 2
        ({"min_image_size_px": 20}, 9),
    ],
)
def test_filters(catalog: Path, changes: dict, n: int) -> None:
    config = DataConfig(catalog=catalog, **changes)
    if n:
        assert len(read_rows(config, "needed")) == n
    else:
        with pytest.raises(InputError, match="no usable picture") as caught:
            read_rows(config, "needed")
        assert "10 readable pictures, 9 with a transcription, 0 " in (caught.value.remedy or "")


def test_a_model_without_text_needs_no_transcription(catalog: Path) -> None:
    assert len(read_rows(DataConfig(catalog=catalog), "unused")) == 10


@pytest.mark.parametrize(
    "where", ["n_charz = 3", "key in (select content from read_text('/etc/passwd'))", "1) --"]
)
def test_a_wrong_or_hostile_condition_is_an_input_error(catalog: Path, pictures: tuple, where: str) -> None:
    for config in (DataConfig(catalog=catalog, where=where), DataConfig(folder=pictures[0], where=where)):
        with pytest.raises(InputError):
            read_rows(config, "unused")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    for name, text in [
        ("b/x.y.png", "hi\nyou"),
        ("a.jpg", ""),
        ("c.png", None),
        ("b/two.png", "2"),
        ("two.png", "3"),
    ]:
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), "red").save(path)
        if text is not None:
            path.with_name(path.name.rpartition(".")[0] + ".txt").write_text(text)
    (source / "broken.png").write_bytes(b"nothing")
    (source / "broken.txt").write_text("text")
    return source


def test_rows_of_a_folder_in_the_forks_layout(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "safeboxes.jsonl").write_text(
        json.dumps({"x.y": [1, 2, 30, 20], "two": [0, 0, 5, 5], "gone": [0, 0, 1, 1]})
    )
    (tmp_path / "scales.json").write_text(json.dumps({"x.y": [1, 3], "a": None}))
    (tmp_path / "captions.jsonl").write_text('{"key": "b/x.y.png", "captions": ["red"]}\n')
    config = DataConfig(
        folder=folder,
        safeboxes=tmp_path / "safeboxes.jsonl",
        px_scales=tmp_path / "scales.json",
        captions=tmp_path / "captions.jsonl",
    )
    rows = read_rows(config, "needed")
    assert keys(rows) == ["a.jpg", "b/two.png", "b/x.y.png", "two.png"]
    row = rows[2]
    assert (row.text, row.safebox, row.px_scale, row.captions) == (
        "hi\nyou",
        Box(1, 2, 30, 20),
        3.0,
        ("red",),
    )
    assert rows[0].text == "" and rows[1].safebox is None
    told = capsys.readouterr().err
    assert "1 names match no picture, among them gone" in told
    assert "two matches b/two.png, two.png" in told


def test_folder_problems(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InputError):
        read_rows(DataConfig(folder=tmp_path / "nowhere"), "unused")
    with pytest.raises(InputError, match="no usable picture"):
        read_rows(DataConfig(folder=folder, where="n_chars > 100"), "needed")
    with pytest.raises(InputError, match=r"safeboxes\.jsonl"):
        read_rows(DataConfig(folder=folder, safeboxes=tmp_path / "safeboxes.jsonl"), "needed")


@pytest.mark.parametrize("kind", ["catalog", "folder"])
def test_classes_are_file_names_or_anything_sql_says(kind: str, tmp_path: Path) -> None:
    rows = make_pictures(tmp_path / "p", 6)
    for row, name in zip(rows, ["dog_1", "cat_1", "cat_2", "ant_x_y", "dog_2", "eel_1"], strict=True):
        path = Path(row["uri"]).rename(tmp_path / "p" / f"{name}.png")
        path.with_suffix(".txt").write_text(row["text"])
        row |= {"key": path.name, "uri": str(path)}
    source = {"folder": tmp_path / "p"}
    if kind == "catalog":
        source = {"catalog": write_catalog(tmp_path / "c.duckdb", rows)}

    def labels(n_classes: int, **changes: object) -> dict[str, int | None]:
        read = read_rows(DataConfig(**source, **changes), "needed", n_classes)
        return {read[i].key.removesuffix(".png"): read[i].label for i in range(len(read))}

    numbers = {"ant_x_y": 0, "cat_1": 1, "cat_2": 1, "dog_1": 2, "dog_2": 2, "eel_1": 3}
    assert labels(5) == numbers
    by_width = labels(3, class_name="CASE WHEN key < 'd' THEN 'early' ELSE 'late' END")
    assert by_width == {key: int(key >= "d") for key in numbers}
    (tmp_path / "map.json").write_text('{"dog": 7, "ant": 1}')
    mapped = labels(9, class_map=tmp_path / "map.json", class_unknown=4)
    assert mapped == {"ant_x_y": 1, "cat_1": 4, "cat_2": 4, "dog_1": 7, "dog_2": 7, "eel_1": 4}
    for n_classes, changes, message in [
        (4, {}, "class 3 is too high.*stands for a class withheld"),
        (3, {"drop_class": 0}, "class 3 is too high"),
        (9, {"class_name": "NULL"}, "6 pictures have no class"),
        (9, {"class_name": "no_such_column"}, "no_such_column"),
        (9, {"class_map": tmp_path / "none.json"}, "there is no file"),
        (9, {"class_map": tmp_path / "p" / "eel_1.txt"}, "cannot be read|no map"),
    ]:
        with pytest.raises(InputError, match=message):
            labels(n_classes, **changes)
    assert labels(4, drop_class=0) == numbers


def test_pictures_are_decoded_within_the_limits_of_their_catalog(tmp_path: Path) -> None:
    """A catalog built with a looser --max-pixels (or a tighter one) is trained from with the same."""
    rows = make_pictures(tmp_path / "p", 3, (60, 44))
    path = write_catalog(tmp_path / "c.duckdb", rows)
    for limits in (Limits(), Limits(max_pixels=1000)):
        with open_catalog(path, "write") as catalog, catalog.transaction():
            catalog.set_info("limits", json.dumps(asdict(limits)))
        read = read_rows(DataConfig(catalog=path), "needed")
        assert read.limits == limits
        dataset = PictureDataset(read, DataConfig(), resolution_px=16, seed=0, uses_text=True)
        if limits == Limits():
            assert dataset[0].failures == ()
        else:
            with pytest.raises(InputError, match="too_many_pixels"):
                dataset[0]
