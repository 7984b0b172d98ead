"""What stands in a catalog after a signal, a full disk or a kill at the worst moment."""

from __future__ import annotations

import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from small_reader import draw
from test_build import build, content, rows, texts

import datatools.catalog.catalog
from datatools.bookkeeping import plan
from datatools.bookkeeping.record import Recorder
from datatools.catalog import open_catalog
from datatools.errors import InputError

_LONG = "SELECT count(*) FROM range(1000000) AS a, range(3000) AS b WHERE a.range * b.range % 7 = 3"


class FailingConnection:
    """A DuckDB connection whose next commit fails once it is armed: before or after its work is done."""

    error: Exception | None = None
    after_the_work = False
    n_failed = 0

    def __init__(self, db: duckdb.DuckDBPyConnection) -> None:
        self._db = db

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def commit(self) -> None:
        error, FailingConnection.error = FailingConnection.error, None
        if error is None or FailingConnection.after_the_work:
            self._db.commit()
        if error is not None:
            FailingConnection.n_failed += 1
            raise error


class PressedWhenRead:
    """An Arrow table; DuckDB is just reading it when Ctrl-C is pressed."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        signal.raise_signal(signal.SIGINT)
        return self._table.__arrow_c_stream__(requested_schema)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for number in range(8):
        draw(tmp_path / f"in/{number}.png", f"word{number}")
    return tmp_path / "in"


def fail_commit(
    monkeypatch: pytest.MonkeyPatch, error: Exception, *, after_the_work: bool, always: bool = False
) -> type[FailingConnection]:
    """The commit of the first batch of pictures fails, or that of every one."""
    connect, commit = datatools.catalog.catalog._connect, Recorder.commit
    armed = iter([error] * (1000 if always else 1))

    def commit_armed(self: Recorder, outcomes: Any) -> None:
        FailingConnection.error = next(armed, None)
        commit(self, outcomes)

    monkeypatch.setattr(FailingConnection, "error", None)
    monkeypatch.setattr(FailingConnection, "n_failed", 0)
    monkeypatch.setattr(FailingConnection, "after_the_work", after_the_work)
    monkeypatch.setattr(
        datatools.catalog.catalog, "_connect", lambda *args, **kw: FailingConnection(connect(*args, **kw))
    )
    monkeypatch.setattr(Recorder, "commit", commit_armed)
    return FailingConnection


def test_ctrl_c_inside_a_commit_doubles_no_row(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        fail_commit(patched, RuntimeError("Query interrupted"), after_the_work=True)
        with pytest.raises(KeyboardInterrupt):
            build(source, tmp_path / "c.duckdb")
    assert rows(tmp_path / "c.duckdb", "SELECT outcome, n_read FROM builds") == [("interrupted", 4)]
    for table in ("pictures", "readings", "spoken"):
        counts = rows(tmp_path / "c.duckdb", f"SELECT count(*), count(DISTINCT key) FROM store.{table}")
        assert counts == [(4, 4)]
    assert build(source, tmp_path / "c.duckdb").n_read == 4
    build(source, tmp_path / "unbroken.duckdb")
    assert content(tmp_path / "c.duckdb") == content(tmp_path / "unbroken.duckdb")


@contextmanager
def signal_after(seconds: float) -> Iterator[None]:
    timer = threading.Timer(seconds, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def test_ctrl_c_inside_a_query_is_an_interruption_and_the_catalog_stays_usable(tmp_path: Path) -> None:
    with open_catalog(tmp_path / "c.duckdb", "write") as catalog:
        with (
            pytest.raises(KeyboardInterrupt),
            signal_after(0.2),
            catalog.given("given_rows", pa.table({"key": ["a"]})),
        ):
            catalog.arrow(_LONG)
        catalog.append("captions", catalog.table("captions", [{"key": "a"}]))
        assert catalog.value("SELECT count(*) FROM captions") == 1


def test_ctrl_c_while_the_plan_is_made_is_an_interruption(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(source, tmp_path / "c.duckdb")
    found = plan._found
    with monkeypatch.context() as patched:
        patched.setattr(plan, "_found", lambda images: PressedWhenRead(found(images)))
        with pytest.raises(KeyboardInterrupt):
            build(source, tmp_path / "c.duckdb")
    outcomes = rows(tmp_path / "c.duckdb", "SELECT outcome FROM builds ORDER BY build")
    assert outcomes == [("finished",), ("interrupted",)]
    assert build(source, tmp_path / "c.duckdb").n_unchanged == 8


@contextmanager
def files_end_at(n_bytes: int) -> Iterator[None]:
    """Files cannot grow beyond `n_bytes`, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_said_once_and_what_was_committed_stays(tmp_path: Path) -> None:
    path = tmp_path / "c.duckdb"
    with open_catalog(path, "write") as catalog:
        catalog.set_info("before", "1")
        many = catalog.table("captions", [{"key": os.urandom(64).hex()} for _ in range(20_000)])
        with files_end_at(path.stat().st_size + 100_000):
            for _ in range(2):  # the second finds no transaction that the first left open
                with pytest.raises(InputError, match="cannot be written"), catalog.transaction():
                    catalog.append("captions", many)
    with open_catalog(path, "write") as catalog:
        assert catalog.info("before") == "1"
        assert catalog.value("SELECT count(*) FROM captions") == 0


def test_a_batch_that_finds_the_disk_full_is_not_tried_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        failing = fail_commit(patched, duckdb.IOException("No space left"), after_the_work=False, always=True)
        with pytest.raises(InputError, match="No space left"):
            build(source, tmp_path / "c.duckdb")
        assert failing.n_failed == 1
    assert rows(tmp_path / "c.duckdb", "SELECT outcome FROM builds") == [("stopped",)]
    assert build(source, tmp_path / "c.duckdb").n_read == 8


def test_a_kill_before_new_texts_speak_is_made_good_by_the_next_build(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(source, tmp_path / "c.duckdb")
    (source / "3.txt").write_text("given")
    with monkeypatch.context() as patched:
        patched.setattr(Recorder, "respeak", lambda *_: (_ for _ in ()).throw(SystemError("killed")))
        with pytest.raises(SystemError, match="killed"):
            build(source, tmp_path / "c.duckdb")
    build(source, tmp_path / "c.duckdb")
    assert texts(tmp_path / "c.duckdb")["3.png"] == "given"
