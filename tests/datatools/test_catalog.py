"""Opening, versions, reading, and what a query may do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datatools.catalog import open_catalog, query_catalog
from datatools.catalog.schema import VIEW_NAMES
from datatools.errors import InputError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    open_catalog(tmp_path / "c.duckdb", "write").close()
    return tmp_path / "c.duckdb"


def test_a_new_catalog_has_the_documented_views_and_nothing_else_in_sight(path: Path) -> None:
    with duckdb.connect(str(path), read_only=True) as db:
        assert {row[0] for row in db.sql("SHOW TABLES").fetchall()} == set(VIEW_NAMES)
        for view in VIEW_NAMES:
            assert db.sql(f"SELECT * FROM {view}").fetchall() == []
    assert [p.name for p in path.parent.iterdir()] == ["c.duckdb"]


def test_frames_and_tables_take_parameters(path: Path) -> None:
    with open_catalog(path) as catalog:
        assert catalog.frame("SELECT ? AS x", ["' OR 1=1 --"])["x"].tolist() == ["' OR 1=1 --"]
        assert catalog.arrow("SELECT $a AS x", {"a": 3}) == pa.table({"x": pa.array([3], pa.int32())})


def test_a_transaction_is_all_or_nothing(path: Path) -> None:
    with open_catalog(path, "write") as catalog:
        with pytest.raises(ZeroDivisionError), catalog.transaction():
            catalog.set_info("a", "1")
            raise ZeroDivisionError
        assert catalog.info("a") is None
        with catalog.transaction():
            catalog.set_info("a", "1")
        assert catalog.info("a") == "1"


def damaged(path: Path, how: str) -> Path:
    if how == "missing":
        path.unlink()
    elif how == "text":
        path.write_text("hello")
    elif how == "folder":
        path.unlink()
        path.mkdir()
    else:
        with duckdb.connect(str(path)) as db:
            if how == "other version":
                db.execute("UPDATE store.info SET value = '99'")
            else:
                db.execute("DROP SCHEMA store CASCADE")
    return path


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("missing", "there is no catalog"),
        ("text", "cannot be opened as a catalog"),
        ("folder", "is a folder, not a catalog"),
        ("other version", "has schema version 99"),
        ("not ours", "is a DuckDB file, but not a catalog"),
    ],
)
def test_what_is_no_catalog_is_named_and_left_as_it_is(path: Path, how: str, said: str) -> None:
    damaged(path, how)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(InputError, match=said):
        open_catalog(path)
    assert before == (path.read_bytes() if path.is_file() else None)


def test_a_second_writer_is_told_to_wait(path: Path) -> None:
    with open_catalog(path, "write"):
        program = f"from datatools.catalog import open_catalog; open_catalog({str(path)!r}, 'write')"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "is in use by another process" in done.stderr


REFUSED = {
    "reads a file": "SELECT * FROM read_text('/etc/passwd')",
    "reads a csv by name": "SELECT * FROM '/etc/passwd'",
    "writes a file": "COPY (SELECT 1) TO 'out.csv'",
    "attaches": "ATTACH 'other.duckdb'",
    "loads an extension": "INSTALL httpfs",
    "unlocks": "SET enable_external_access = true",
    "creates": "CREATE TABLE t (a INT)",
    "deletes": "DELETE FROM store.info",
    "is no SQL": "SELEKT",
}


@pytest.mark.parametrize("sql", REFUSED.values(), ids=REFUSED.keys())
def test_a_query_can_only_read_the_catalog(path: Path, sql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    before = path.read_bytes()
    with pytest.raises(InputError, match="the query cannot be run"):
        query_catalog(path, sql)
    assert [p.name for p in path.parent.iterdir()] == ["c.duckdb"]
    assert path.read_bytes() == before
    assert query_catalog(path, "SELECT 1 AS one").to_pylist() == [{"one": 1}]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), unique=True))
def test_any_text_comes_back_as_it_went_in(path: Path, texts: list[str]) -> None:
    with open_catalog(path, "write") as catalog:
        rows = [{"key": "k", "caption": text, "position": n} for n, text in enumerate(texts)]
        catalog.execute("DELETE FROM store.captions")
        catalog.append("captions", catalog.table("captions", rows))
        stored = catalog.arrow("SELECT caption FROM captions ORDER BY position")["caption"].to_pylist()
        assert stored == texts
        for text in texts:
            assert catalog.value("SELECT position FROM captions WHERE caption = ?", [text]) == texts.index(
                text
            )
