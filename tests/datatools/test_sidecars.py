"""The fork's sidecars and JSON Lines, told apart by content, in and out."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_reader import draw
from test_build import build

from datatools.catalog import open_catalog
from datatools.errors import InputError
from datatools.keys import make_key
from datatools.sidecars import match_keys, read_sidecar, write_sidecar
from datatools.sidecars.captions import read_captions

NUMBERS = st.floats(0, 1e6).map(lambda x: round(x, 2))
BOXES = st.lists(NUMBERS, min_size=4, max_size=4)


def is_key(text: str) -> bool:
    try:
        return make_key(text) == text
    except InputError:
        return False


KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(is_key)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(KEYS, BOXES, max_size=5))
def test_both_forms_are_read_as_they_were_written(tmp_path: Path, boxes: dict[str, list[float]]) -> None:
    lines, fork = tmp_path / "lines.jsonl", tmp_path / "fork.jsonl"
    lines.write_text(
        "".join(json.dumps({"key": k, "safebox": v}, ensure_ascii=False) + "\n" for k, v in boxes.items()),
        encoding="utf-8",
        newline="\n",
    )
    fork.write_text(json.dumps(boxes, indent=1), encoding="utf-8")
    assert read_sidecar(lines, "safebox").values == boxes
    assert read_sidecar(fork, "safebox").values == boxes
    assert read_sidecar(fork, "safebox").form == "fork"
    if boxes:
        assert read_sidecar(lines, "safebox").form == "jsonl"


WRONG = {
    "a list": '["a"]',
    "half an object": '{"a": [1, 2, 3, 4]',
    "second line is cut": '{"key": "a.png", "safebox": [1, 2, 3, 4]}\n{"key": "b',
    "second line is about something else": '{"key": "a.png", "safebox": [1, 2, 3, 4]}\n{"key": "b.png"}',
    "a box of three": '{"a": [1, 2, 3]}',
    "a box of words": '{"a": ["1", "2", "3", "4"]}',
    "a box with NaN": '{"a": [NaN, 2, 3, 4]}',
    "a key that leaves the root": '{"key": "../a.png", "safebox": [1, 2, 3, 4]}',
    "very deep nesting": "[" * 100_000,
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG.keys())
def test_other_content_is_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "safeboxes.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=r"safeboxes\.jsonl"):
        read_sidecar(path, "safebox")


def test_null_is_a_missing_value_and_an_empty_file_has_none(tmp_path: Path) -> None:
    path = tmp_path / "px.json"
    path.write_text('{"a": null, "b": [1, 2]}')
    assert read_sidecar(path, "px_scale").values == {"b": [1, 2]}
    path.write_text("")
    assert read_sidecar(path, "px_scale").values == {}
    with pytest.raises(InputError, match="cannot be read"):
        read_sidecar(tmp_path / "nowhere", "px_scale")


def test_a_stem_that_two_pictures_share_is_reported_and_not_used(tmp_path: Path) -> None:
    path = tmp_path / "fork.json"
    path.write_text('{"x": [0, 0, 1, 1], "y": [0, 0, 2, 2], "z": [0, 0, 3, 3]}')
    matched = match_keys(read_sidecar(path, "safebox"), ["a/x.png", "b/x.jpg", "y.png"])
    assert matched.values == {"y.png": [0, 0, 2, 2]}
    assert matched.shared == {"x": ["a/x.png", "b/x.jpg"]}
    assert matched.unmatched == ["z"]


def test_the_forks_form_is_one_object_by_stem(tmp_path: Path) -> None:
    for name in ("a/x.png", "b/x.png", "y.png"):
        draw(tmp_path / "in" / name, "word")
    report = build(tmp_path / "in", tmp_path / "c.duckdb", sidecars="fork")
    assert report.shared_stems == {"x": ["a/x.png", "b/x.png"]}
    assert json.loads((tmp_path / "safeboxes.jsonl").read_text()) == {"y": [0, 0, 20, 8]}
    assert json.loads((tmp_path / "px_scales.jsonl").read_text()) == {}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    name = 'sub/it\'s \u2028 "quoted", ünï.png'
    draw(tmp_path / "in" / name, "word")
    build(tmp_path / "in", tmp_path / "c.duckdb")
    with open_catalog(tmp_path / "c.duckdb") as catalog:
        write_sidecar(tmp_path / "out.jsonl", catalog, "safebox", "jsonl")
    assert read_sidecar(tmp_path / "out.jsonl", "safebox").values == {name: [0, 0, 20, 8]}


def test_captions_come_from_parquet_too(tmp_path: Path) -> None:
    path = tmp_path / "captions.parquet"
    pq.write_table(pa.table({"key": ["a.png", "a.png", "b.png"], "caption": ["one", "two", None]}), path)
    assert read_captions(path).values == {"a.png": ["one", "two"], "b.png": []}
    pq.write_table(pa.table({"file": ["a.png"]}), path)
    with pytest.raises(InputError, match="no columns key and caption"):
        read_captions(path)
    path.write_text("not parquet")
    with pytest.raises(InputError, match="Parquet"):
        read_captions(path)


OWN = '{"key": "a.png", "safebox": [1, 2, 3, 4]}\n'


def test_a_file_of_the_users_own_is_kept_and_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    draw(tmp_path / "in/a.png", "word")
    own = tmp_path / "in/safeboxes.jsonl"
    own.write_text(OWN)
    build(tmp_path / "in", tmp_path / "in/c.duckdb")
    assert (tmp_path / "in/safeboxes.jsonl.orig").read_text() == OWN
    assert "safeboxes.jsonl.orig" in capfd.readouterr().err
    assert json.loads(own.read_text())["safebox"] == [0, 0, 20, 8]
    draw(tmp_path / "in/a.png", "longer word")
    build(tmp_path / "in", tmp_path / "in/c.duckdb")
    assert json.loads(own.read_text())["safebox"] == [0, 0, 55, 8]
    assert "warning" not in capfd.readouterr().err
    assert len(list((tmp_path / "in").glob("*.orig*"))) == 1


def test_sidecars_of_two_catalogs_in_one_folder_are_all_kept(tmp_path: Path) -> None:
    draw(tmp_path / "a/a.png", "word")
    draw(tmp_path / "b/b.png", "word")
    for name in ("a", "b", "a", "b"):
        build(tmp_path / name, tmp_path / f"{name}.duckdb")
        assert json.loads((tmp_path / "safeboxes.jsonl").read_text())["key"] == f"{name}.png"
    kept = {json.loads(path.read_text())["key"] for path in tmp_path.glob("safeboxes.jsonl.orig*")}
    assert kept == {"a.png", "b.png"}
    assert len(list(tmp_path.glob("*.orig*"))) == 2


def test_a_kill_before_the_new_file_has_its_name_does_not_make_ours_a_strangers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "in/a.png", "word")
    build(tmp_path / "in", tmp_path / "c.duckdb")
    draw(tmp_path / "in/a.png", "longer word")

    def killed(draft: Path, target: Path) -> Path:
        if target.name == "safeboxes.jsonl":
            raise KeyboardInterrupt
        return rename(draft, target)

    rename = Path.replace
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", killed)
        build(tmp_path / "in", tmp_path / "c.duckdb")
    build(tmp_path / "in", tmp_path / "c.duckdb")
    assert json.loads((tmp_path / "safeboxes.jsonl").read_text())["safebox"] == [0, 0, 55, 8]
    assert not list(tmp_path.glob("*.orig*"))
