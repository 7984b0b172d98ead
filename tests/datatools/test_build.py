"""Whole builds with a small reader: what ends up in the catalog, whatever the pictures and the machine do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from small_reader import OPENER, draw

from datatools.build import BuildReport, build_catalog
from datatools.catalog import open_catalog
from datatools.cli import BuildFlags
from datatools.config import BuildSettings
from datatools.errors import InputError

TABLES = {
    "pictures": "key, sha256, phash, width_px, height_px, status, cause",
    "lines": "key, engine, line, text, confidence, polygon",
    "transcriptions": "*",
    "safeboxes": "*",
    "captions": "key, caption, position",
}


def build(source: Path, catalog: Path, **settings: object) -> BuildReport:
    chosen = {"ocr": ("small",), "workers": 1, "chunk_pictures": 4, "commit_pictures": 4} | settings
    return build_catalog(source, catalog, BuildSettings(**chosen), opener=OPENER)  # type: ignore[arg-type]


def rows(catalog: Path, sql: str) -> list[tuple[object, ...]]:
    with open_catalog(catalog) as opened:
        return [tuple(row.values()) for row in opened.arrow(sql).to_pylist()]


def content(catalog: Path) -> dict[str, list[tuple[object, ...]]]:
    """Everything that does not depend on when and where the catalog was built."""
    return {name: rows(catalog, f"SELECT {what} FROM {name} ORDER BY ALL") for name, what in TABLES.items()}


def texts(catalog: Path) -> dict[object, object]:
    return dict(rows(catalog, "SELECT key, text FROM transcriptions"))  # type: ignore[arg-type]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    draw(folder / "a.png", "one")
    draw(folder / "sub/b.png", "two\nlines")
    draw(folder / "sub/empty.png", "")
    return folder


def test_a_build_fills_catalog_and_sidecars_and_a_second_one_finds_nothing_to_do(
    source: Path, tmp_path: Path
) -> None:
    catalog = tmp_path / "out/c.duckdb"
    report = build(source, catalog)
    assert (report.n_found, report.n_read, report.failures) == (3, 3, {})
    assert texts(catalog) == {"a.png": "one", "sub/b.png": "two\nlines", "sub/empty.png": ""}
    boxes = [json.loads(line) for line in (catalog.parent / "safeboxes.jsonl").read_text().splitlines()]
    assert boxes == [
        {"key": "a.png", "safebox": [0, 0, 15, 8]},
        {"key": "sub/b.png", "safebox": [0, 0, 25, 18]},
    ]
    assert (catalog.parent / "px_scales.jsonl").read_text() == ""
    before = content(catalog)
    again = build(source, catalog)
    assert (again.n_unchanged, again.n_read) == (3, 0)
    assert 0 < (report.reading_share or 0) < 1
    assert again.reading_share is None
    assert content(catalog) == before
    assert rows(catalog, "SELECT outcome, n_read FROM builds ORDER BY build") == [
        ("finished", 3),
        ("finished", 0),
    ]


def test_changed_files_are_read_again_moved_ones_keep_their_reading_and_gone_ones_go(
    source: Path, tmp_path: Path
) -> None:
    catalog = tmp_path / "c.duckdb"
    build(source, catalog)
    draw(source / "a.png", "other")
    shutil.move(source / "sub/b.png", source / "moved.png")
    (source / "sub/empty.png").unlink()
    report = build(source, catalog)
    assert (report.n_read, report.n_reused, report.n_removed) == (1, 1, 2)
    assert texts(catalog) == {"a.png": "other", "moved.png": "two\nlines"}
    fresh = tmp_path / "fresh.duckdb"
    build(source, fresh)
    assert content(fresh) == content(catalog)


def test_renumbered_files_are_read_as_what_they_are_now(tmp_path: Path) -> None:
    source, catalog = tmp_path / "pictures", tmp_path / "c.duckdb"
    for number in range(9):
        draw(source / f"{number:04d}.png", f"word{number}")
    build(source, catalog)
    for number in reversed(range(9)):  # more than one batch: rows are replaced while others are still to come
        (source / f"{number:04d}.png").rename(source / f"{number + 1:04d}.png")
    for number in range(1, 10):  # the size is the same, the time has to tell
        os.utime(source / f"{number:04d}.png", ns=(0, number))
    report = build(source, catalog)
    assert (report.n_removed, report.failures) == (1, {})
    assert texts(catalog) == {f"{number + 1:04d}.png": f"word{number}" for number in range(9)}


def test_every_bad_picture_is_a_row_with_its_cause_and_the_good_ones_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    for number in range(6):
        draw(folder / f"good{number}.png", f"word{number}")
    draw(folder / "crash.png", "!crash")
    draw(folder / "hang.png", "!hang")
    draw(folder / "raise.png", "!raise")
    (folder / "empty.png").touch()
    (folder / "half.png").write_bytes((folder / "good0.png").read_bytes()[:60])
    (folder / "text.jpg").write_text("not a picture")
    (folder / "scale.png").symlink_to(folder / "good0.png")
    (folder / "torn\udcff.png".encode(errors="surrogateescape").decode(errors="surrogateescape")).touch()
    report = build(folder, tmp_path / "c.duckdb", time_limit_s=2.0)
    causes = dict(rows(tmp_path / "c.duckdb", "SELECT key, cause FROM failures"))  # type: ignore[arg-type]
    assert causes == {
        "crash.png": "crashed",
        "hang.png": "timeout",
        "raise.png": "reader_error",
        "empty.png": "empty",
        "half.png": "truncated",
        "text.jpg": "unknown_format",
        "torn\\udcff.png": "bad_name",
    }
    assert report.failures == dict.fromkeys(causes.values(), 1)
    assert texts(tmp_path / "c.duckdb") == {f"good{n}.png": f"word{n}" for n in range(6)}


def test_failures_are_left_alone_until_retry_names_them(source: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "c.duckdb"
    draw(source / "bad.png", "!raise")
    (source / "none.png").touch()
    build(source, catalog)
    assert build(source, catalog).n_unchanged == 5
    build(source, catalog, retry=("reader_error",))
    attempts = "SELECT key, n_attempts FROM failures ORDER BY key"
    assert rows(catalog, attempts) == [("bad.png", 2), ("none.png", 1)]
    build(source, catalog, retry=())
    assert rows(catalog, attempts) == [("bad.png", 3), ("none.png", 2)]
    draw(source / "bad.png", "well")  # a changed file needs no --retry
    assert build(source, catalog).failures == {"empty": 1}
    assert texts(catalog)["bad.png"] == "well"


def test_a_further_reader_reads_only_what_it_has_not_read(source: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "c.duckdb"
    build(source, catalog)
    before = rows(catalog, "SELECT * FROM store.readings ORDER BY key")
    report = build(source, catalog, ocr=("small", "shouting"))
    assert report.n_read == 3
    assert rows(catalog, "SELECT * FROM store.readings WHERE reader = 1 ORDER BY key") == before
    assert rows(catalog, "SELECT engine, text FROM lines WHERE key = 'a.png' ORDER BY engine") == [
        ("shouting", "ONE"),
        ("small", "one"),
    ]
    assert texts(catalog)["a.png"] == "one"
    # Preference alone is no reason to read again.
    assert build(source, catalog, ocr=("shouting", "small")).n_read == 0
    assert texts(catalog)["a.png"] == "ONE"
    assert rows(catalog, "SELECT agreement FROM transcriptions WHERE key = 'a.png'") == [(1.0,)]


def test_a_new_version_of_a_reader_replaces_its_rows(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = tmp_path / "c.duckdb"
    build(source, catalog)
    monkeypatch.setenv("SMALL_READER_VERSION", "2")
    assert build(source, catalog).n_read == 3
    assert rows(catalog, "SELECT DISTINCT engine, version FROM lines") == [("small", "2")]
    assert rows(catalog, "SELECT count(*) FROM store.readings") == [(3,)]


def test_a_reader_that_fails_leaves_what_another_one_read(source: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "c.duckdb"
    build(source, catalog)
    draw(source / "bad.png", "!raise")
    build(source, catalog, ocr=("small", "shouting"))
    assert texts(catalog) == {"a.png": "one", "sub/b.png": "two\nlines", "sub/empty.png": ""}
    assert rows(catalog, "SELECT key, cause FROM failures") == [("bad.png", "reader_error")]


def test_captions_of_the_source_and_of_files_are_imported(source: Path, tmp_path: Path) -> None:
    catalog, more = tmp_path / "c.duckdb", tmp_path / "fork.json"
    (source / "captions.jsonl").write_text('{"key": "a.png", "captions": ["a word", "grey"]}\n')
    more.write_text('{"b": "two words", "nobody": "x"}')
    report = build(source, catalog, captions=(more,))
    assert rows(catalog, "SELECT key, caption, position FROM captions ORDER BY ALL") == [
        ("a.png", "a word", 0),
        ("a.png", "grey", 1),
        ("sub/b.png", "two words", 0),
    ]
    assert [r.matched.unmatched for r in report.captions] == [[], ["nobody"]]
    (source / "captions.jsonl").write_text('{"key": "a.png", "captions": ["new"]}\n')
    build(source, catalog)
    more.write_text("[]")
    with pytest.raises(InputError, match=r"fork\.json"):
        build(source, tmp_path / "never.duckdb", captions=(more,))
    assert rows(catalog, "SELECT caption FROM captions WHERE key = 'a.png'") == [("new",)]


def test_a_catalog_belongs_to_one_source_but_follows_it_when_it_moves(source: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "c.duckdb"
    build(source, catalog)
    draw(tmp_path / "other/x.png", "x")
    with pytest.raises(InputError, match="is the catalog of"):
        build(tmp_path / "other", catalog)
    moved = source.rename(tmp_path / "elsewhere")
    assert build(moved, catalog).n_unchanged == 3
    assert rows(catalog, "SELECT uri FROM pictures WHERE key = 'a.png'") == [(str(moved / "a.png"),)]


@pytest.mark.parametrize("wrong", ["missing", "file", "empty"])
def test_a_source_that_is_none_is_named_and_nothing_is_made(tmp_path: Path, wrong: str) -> None:
    source = tmp_path / "pictures"
    if wrong == "file":
        source.touch()
    if wrong == "empty":
        source.mkdir()
    with pytest.raises(InputError, match="pictures"):
        build(source, tmp_path / "c.duckdb")
    assert not (tmp_path / "c.duckdb").exists()


@pytest.mark.slow
def test_ray_gives_the_same_rows_as_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        draw(tmp_path / f"in/{number}.png", f"word{number}")
    draw(tmp_path / "in/crash.png", "!crash")
    draw(tmp_path / "in/raise.png", "!raise")
    Image.new("RGB", (200, 100)).save(tmp_path / "in/large.png")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), str(Path.cwd())]))
    copies = {}
    for runner in ("local", "ray"):
        build(tmp_path / "in", tmp_path / f"{runner}.duckdb", runner=runner, max_edge_px=64)
        copies[runner] = [path.name for path in tmp_path.glob(f"{runner}.duckdb.pictures/*/*")]
    assert content(tmp_path / "ray.duckdb") == content(tmp_path / "local.duckdb")
    assert len(copies["local"]) == 1  # named by the digest of what is in it
    assert copies["ray"] == copies["local"]
    assert rows(tmp_path / "ray.duckdb", "SELECT * FROM px_scales") == [("large.png", 0.32, 0.32, "shrunk")]
    failures = "SELECT key, cause FROM failures ORDER BY key"
    assert rows(tmp_path / "ray.duckdb", failures) == [
        ("crash.png", "crashed"),
        ("raise.png", "reader_error"),
    ]


def test_a_picture_that_would_cost_too_much_is_a_row_with_its_cause(source: Path, tmp_path: Path) -> None:
    Image.new("1", (9000, 7000)).save(source / "huge.png")  # 8 KB, of which decoding makes 400 MB
    shutil.copy(source / "huge.png", source / "long.png")
    with (source / "long.png").open("ab") as file:
        file.write(bytes(20_000))
    limited = BuildFlags(memory_limit=256, max_bytes=20_000, max_pixels=64_000_000).settings()
    build(source, tmp_path / "c.duckdb", limits=limited.limits, memory_limit_bytes=limited.memory_limit_bytes)
    failures = "SELECT key, cause FROM failures ORDER BY key"
    assert rows(tmp_path / "c.duckdb", failures) == [
        ("huge.png", "out_of_memory"),
        ("long.png", "too_many_bytes"),
    ]
    report = build(source, tmp_path / "c.duckdb", retry=())
    assert (report.n_read, report.failures) == (2, {})


def start_slow_build(source: Path, catalog: Path) -> subprocess.Popen[str]:
    """A build in a process of its own that says "acked" after each commit."""
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from datatools import build
from datatools.config import BuildSettings
from datatools.bookkeeping.record import Recorder
commit = Recorder.commit
def acked(self, outcomes):
    commit(self, outcomes)
    print("acked", len(outcomes), flush=True)
Recorder.commit = acked
settings = BuildSettings(ocr=("small",), workers=1, chunk_pictures=2, commit_pictures=2)
build.build_catalog(Path({str(source)!r}), Path({str(catalog)!r}), settings, opener={OPENER!r})
"""
    script = catalog.parent / "slow_build.py"
    script.write_text(program)
    environment = os.environ | {"SMALL_READER_SLEEP_S": "0.02", "PYTHONPATH": str(Path.cwd())}
    return subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )


def n_acked(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return sum(int(line.split()[1]) for line in process.stdout)


@pytest.mark.parametrize("delay_s", [0.0, 0.05, 0.2])
def test_a_build_that_is_killed_loses_at_most_the_batch_in_hand(tmp_path: Path, delay_s: float) -> None:
    source, catalog = tmp_path / "pictures", tmp_path / "c.duckdb"
    for number in range(40):
        draw(source / f"{number:03d}.png", f"word{number}")
    process = start_slow_build(source, catalog)
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(delay_s)
    process.kill()
    acknowledged = int(first.split()[1]) + n_acked(process)
    process.wait()
    assert 0 < acknowledged < 40
    kept = rows(catalog, "SELECT count(*) FROM transcriptions")[0][0]
    assert isinstance(kept, int)
    assert acknowledged <= kept <= acknowledged + 2
    report = build(source, catalog)
    assert report.n_unchanged == kept
    build(source, tmp_path / "unbroken.duckdb")
    assert content(catalog) == content(tmp_path / "unbroken.duckdb")


def test_an_interrupted_build_commits_what_is_done(tmp_path: Path) -> None:
    source, catalog = tmp_path / "pictures", tmp_path / "c.duckdb"
    for number in range(40):
        draw(source / f"{number:03d}.png", f"word{number}")
    process = start_slow_build(source, catalog)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.wait(timeout=20)
    kept = rows(catalog, "SELECT count(*) FROM transcriptions")[0][0]
    assert rows(catalog, "SELECT outcome FROM builds") == [("interrupted",)]
    assert len((tmp_path / "safeboxes.jsonl").read_text().splitlines()) == kept
    assert build(source, catalog).n_unchanged == kept
