"""A catalog of every earlier version opens with the same rows, whatever kills the upgrade."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from datatools.catalog import open_catalog, query_catalog
from datatools.catalog.schema import SCHEMA_VERSION, TABLES, VIEWS
from datatools.catalog.upgrade import STEPS
from datatools.errors import InputError

FIRST = (Path(__file__).parent / "schema_1.sql").read_text()

ROWS = """
INSERT INTO store.info VALUES ('source', '/photos'), ('rule', '{"speaker": "first"}');
INSERT INTO store.builds SELECT i, TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-02', 'finished', '/photos',
    '{"limits": {"max_bytes": 134217728, "max_pixels": ' || (64000000 + i) || ', "min_edge_px": 8}}',
    'txtdiff 0.1.0', 4, 0, 3, 0, 1, 0 FROM range(1, 3) AS r(i);
INSERT INTO store.readers VALUES (1, 'rapidocr', '3', 'abc', '{}');
INSERT INTO store.pictures SELECT i || '.png', '/photos/' || i || '.png', 1000 + i, i, sha256(i::VARCHAR), i,
    64, 32, 'ok', NULL, NULL, 0, 1 FROM range(3000) AS r(i);
INSERT INTO store.pictures VALUES ('bad.png', '/photos/bad.png', 0, 1, NULL, NULL, NULL, NULL, 'failed',
    'empty', 'zero', 2, 1);
INSERT INTO store.readings SELECT i || '.png', 1, 1,
    [{polygon: [0, 0, 9, 0, 9, 8, 0, 8]::FLOAT[8], text: 'wörd' || i, confidence: 0.5}]
    FROM range(3000) AS r(i);
INSERT INTO store.texts VALUES ('1.png', '/photos/1.txt', 5, 1, 'given', 'def', 'given', NULL),
    ('2.png', '/photos/2.txt', 5, 1, 'refused', NULL, NULL, 'no UTF-8');
INSERT INTO store.spoken SELECT i || '.png', 'wörd' || i, 'rapidocr', 1, 5, 0.5, NULL, 0, 0, 9, 8
    FROM range(3000) AS r(i);
INSERT INTO store.boxes VALUES ('1.png', 1, 2, 30.5, 20, 'given');
INSERT INTO store.captions VALUES ('1.png', 'a\nb', 0, 'x.json'), ('1.png', 'c', 1, 'x.json');
INSERT INTO store.px_scales VALUES ('2.png', 2, 1.5, 'given');
"""


def first_catalog(path: Path, rows: str = ROWS) -> Path:
    with duckdb.connect(str(path)) as db:
        db.execute(FIRST)
        db.execute(rows)
    return path


def views(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all views, in the columns that the first version has."""
    with duckdb.connect() as db:
        db.execute(FIRST)
        columns = {
            name: ", ".join(f'"{column}"' for column, *_ in db.sql(f"DESCRIBE {name}").fetchall())
            for name in VIEWS
        }
    with duckdb.connect(str(path), read_only=True) as db:
        return {
            name: db.sql(f"SELECT {what} FROM {name} ORDER BY ALL").fetchall()
            for name, what in columns.items()
        }


@pytest.mark.parametrize("mode", ["read", "write"])
def test_a_first_catalog_opens_with_the_same_rows_and_the_old_file_stays(tmp_path: Path, mode: str) -> None:
    path = first_catalog(tmp_path / "it's.duckdb")
    before, old = path.read_bytes(), views(path)
    assert all(old.values())
    open_catalog(path, mode).close()  # type: ignore[arg-type]
    assert views(path) == old
    assert (tmp_path / "it's.duckdb.v1").read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {"it's.duckdb", "it's.duckdb.v1"}
    with open_catalog(path) as catalog:
        limits = json.loads(catalog.info("limits") or "")
        assert limits == {"max_bytes": 134217728, "max_pixels": 64000002, "min_edge_px": 8}
        assert catalog.info("source") == "/photos"
        assert catalog.value("SELECT source_width_px FROM pictures WHERE key = '7.png'") == 64


def test_an_upgraded_catalog_is_laid_out_like_a_new_one(tmp_path: Path) -> None:
    open_catalog(first_catalog(tmp_path / "c.duckdb")).close()
    layout = """SELECT table_name, column_name, column_index, data_type FROM duckdb_columns()
        WHERE schema_name = 'store' ORDER BY ALL"""
    with duckdb.connect() as db, duckdb.connect(str(tmp_path / "c.duckdb"), read_only=True) as upgraded:
        db.execute(TABLES)
        assert upgraded.sql(layout).fetchall() == db.sql(layout).fetchall()


def test_there_is_a_step_from_every_earlier_version() -> None:
    assert list(STEPS) == list(range(1, SCHEMA_VERSION))


def test_an_empty_first_catalog_and_a_query_upgrade_too(tmp_path: Path) -> None:
    path = first_catalog(tmp_path / "c.duckdb", "SELECT 1")
    assert query_catalog(path, "SELECT count(*) AS n FROM pictures").to_pylist() == [{"n": 0}]
    with open_catalog(path) as catalog:
        assert catalog.info("limits") is None


def test_rows_in_the_log_of_a_killed_writer_come_along(tmp_path: Path) -> None:
    path = first_catalog(tmp_path / "c.duckdb")
    program = f"""
import duckdb, os, signal
db = duckdb.connect({str(path)!r})
db.execute("INSERT INTO store.captions VALUES ('3.png', 'late', 0, 'x')")
os.kill(os.getpid(), signal.SIGKILL)"""
    subprocess.run([sys.executable, "-c", program], check=False)
    assert (tmp_path / "c.duckdb.wal").stat().st_size
    with open_catalog(path) as catalog:
        assert catalog.value("SELECT caption FROM captions WHERE key = '3.png'") == "late"
    assert not (tmp_path / "c.duckdb.wal").exists()


KILLED_AT = {
    "a table": "CREATE TABLE store.readings",
    "the checkpoint": "CHECKPOINT",
    "the second name": "link",
    "the renaming": "replace",
    "after the renaming": "fsync_directory",
}


@pytest.mark.parametrize("moment", KILLED_AT.values(), ids=KILLED_AT.keys())
def test_a_kill_leaves_the_old_or_the_new_catalog_whole(tmp_path: Path, moment: str) -> None:
    path = first_catalog(tmp_path / "c.duckdb")
    before, old = path.read_bytes(), views(path)
    program = f"""
import os, signal, sys, duckdb, datatools.catalog.upgrade
from datatools.catalog import open_catalog
from pathlib import Path
moment = {moment!r}
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
class Connection:
    def __init__(self, db): self.db = db
    def __getattr__(self, name): return getattr(self.db, name)
    def __enter__(self): return self
    def __exit__(self, *_): self.db.close()
    def execute(self, sql, *rest):
        if sql.startswith(moment) and self.writing: die()
        return self.db.execute(sql, *rest)
connect = duckdb.connect
def dying(path, **settings):
    connection = Connection(connect(path, **settings))
    connection.writing = str(path).endswith(".new")
    return connection
class Duck:
    Error = duckdb.Error
    connect = staticmethod(dying)
datatools.catalog.upgrade.duckdb = Duck
if moment == "link": Path.hardlink_to = die
if moment == "replace": Path.replace = die
if moment == "fsync_directory": datatools.catalog.upgrade.fsync_directory = die
open_catalog({str(path)!r})"""
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL
    if moment != "fsync_directory":
        assert path.read_bytes() == before
    with open_catalog(path) as catalog:
        assert catalog.info("schema_version") == str(SCHEMA_VERSION)
    assert views(path) == old
    assert {file.name for file in tmp_path.glob("[!.]*")} == {"c.duckdb", "c.duckdb.v1"}
    assert not list(tmp_path.glob("*.new*"))
    assert (tmp_path / "c.duckdb.v1").read_bytes() == before


@pytest.mark.parametrize("delay_s", [0.05])
def test_a_kill_by_the_clock_leaves_a_catalog_too(tmp_path: Path, delay_s: float) -> None:
    path = first_catalog(tmp_path / "c.duckdb")
    old = views(path)
    program = f"""
import datatools.catalog
print("go", flush=True)
datatools.catalog.open_catalog({str(path)!r})"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        process.wait(delay_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    open_catalog(path).close()
    assert views(path) == old


def test_a_full_disk_is_said_and_leaves_the_old_catalog(tmp_path: Path) -> None:
    path = first_catalog(tmp_path / "c.duckdb")
    before = path.read_bytes()
    program = f"""
import resource, signal, sys
from datatools.catalog import open_catalog
from datatools.errors import InputError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    open_catalog({str(path)!r})
except InputError as error:
    print(error)"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "cannot be upgraded" in done.stdout, done.stderr
    assert path.read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {"c.duckdb"}


def test_a_newer_version_is_refused_in_one_message(tmp_path: Path) -> None:
    path = first_catalog(tmp_path / "c.duckdb", "UPDATE store.info SET value = '99'")
    before = path.read_bytes()
    with pytest.raises(InputError, match="has schema version 99, this program knows versions up to 2"):
        open_catalog(path)
    assert path.read_bytes() == before
