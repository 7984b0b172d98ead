"""Results that cannot be written: told in the user's words, with the place named, and nothing left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from eval_fakes import fill, right, store_path

from datatools.errors import InputError
from eval.machine.places import make_folder_of
from eval.report.options import ReportOptions
from eval.report.writing import write_report
from eval.store import open_store

FILL_THE_DISK = """
import os, resource, signal, sys
from pathlib import Path
from datatools.errors import InputError
from eval.store import open_store

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit then fails, as on a full disk
with open_store(Path(sys.argv[1]), "write"):
    pass
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
try:
    with open_store(Path(sys.argv[1]), "write") as store:
        for i in range(1000):
            store.write("features", [{"sha256": str(i), "extractor_id": "x", "vector": os.urandom(50_000)}])
except InputError as error:
    print(error)
"""


def test_a_folder_on_the_way_is_made(tmp_path: Path) -> None:
    make_folder_of(tmp_path / "a" / "b" / "report.html")
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("name", ["file/report.html", "file/deeper/report.html", "folder"])
def test_a_place_where_no_file_can_be_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=name):
        make_folder_of(tmp_path / name)


def test_a_folder_that_nobody_may_write_to_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(InputError, match=f"{tmp_path.name} is read-only"):
        make_folder_of(tmp_path / "report.html")


def test_a_store_under_a_file_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/eval\.duckdb cannot be written"):
        open_store(tmp_path / "file" / "eval.duckdb", "write")
    with pytest.raises(InputError, match="no evaluation store"):
        open_store(tmp_path / "eval.duckdb", "update")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("option", ["html", "out"])
def test_a_report_that_cannot_be_written_is_told_before_it_is_shown(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_store(store_path(tmp_path), "write") as store:
        fill(store, {"right": right})
    with pytest.raises(InputError, match=r"eval\.duckdb/report cannot be written"):
        write_report(store_path(tmp_path), ReportOptions(**{option: store_path(tmp_path) / "report"}))
    assert capsys.readouterr().out == ""


def test_a_full_disk_is_told_with_the_store_s_name(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FILL_THE_DISK, str(store_path(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{store_path(tmp_path)} cannot be written" in done.stdout
    assert "Free some space" in done.stdout
    with open_store(store_path(tmp_path)) as store:  # what was finished before is there
        [(n_kept,)] = store.rows("SELECT count(*) FROM features")
    assert 1 <= n_kept < 1000
