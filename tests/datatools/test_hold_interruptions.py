"""Ctrl-C in the middle of DuckDB's work: writing goes to its end, reading ends as Python users expect."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from datatools.catalog.catalog import open_catalog
from datatools.interruption import hold_interruptions, interruptible


@contextmanager
def noted_sigterm(came: list[int]) -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, lambda signum, _frame: came.append(signum))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def test_ctrl_c_waits_for_what_must_not_be_cut_in_two() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), hold_interruptions():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done.append("all of it")
    assert done == ["all of it"]
    with pytest.raises(KeyboardInterrupt):  # it is as it was
        signal.raise_signal(signal.SIGINT)


def test_whoever_handles_a_signal_is_called_at_the_end_as_often_as_it_came() -> None:
    came: list[int] = []
    with noted_sigterm(came):
        with hold_interruptions(), hold_interruptions():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            assert came == []
        assert came == [signal.SIGTERM] * 2


def test_an_error_in_the_block_does_not_lose_the_signal() -> None:
    with pytest.raises(KeyboardInterrupt) as caught, hold_interruptions():
        signal.raise_signal(signal.SIGINT)
        raise OSError("full")
    assert isinstance(caught.value.__context__, OSError)


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with hold_interruptions():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_thread_that_gets_no_signals_may_hold_them() -> None:
    failures: list[BaseException] = []

    def hold() -> None:
        try:
            with hold_interruptions():
                pass
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    assert failures == []


class PressedWhenRead:
    """An Arrow table; DuckDB is just reading it when Ctrl-C is pressed."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        raise KeyboardInterrupt


@pytest.mark.parametrize("error", [None, RuntimeError("Query interrupted")])
def test_whatever_duckdb_makes_of_ctrl_c_is_an_interruption(error: Exception | None) -> None:
    with duckdb.connect() as db, pytest.raises(KeyboardInterrupt), interruptible():
        if error is not None:
            raise error
        db.register("given", PressedWhenRead())
        db.sql("SELECT * FROM given").fetchall()


def test_other_failures_stay_what_they_are() -> None:
    with duckdb.connect() as db:
        with pytest.raises(duckdb.CatalogException), interruptible():
            db.sql("SELECT * FROM nothing")
        with pytest.raises(RuntimeError, match="of its own"), interruptible():
            raise RuntimeError("of its own")


def test_a_transaction_is_kept_whole_when_ctrl_c_comes_inside(tmp_path: Path) -> None:
    with open_catalog(tmp_path / "c.duckdb", "write") as catalog:
        with pytest.raises(KeyboardInterrupt), catalog.transaction():
            catalog.set_info("first", "1")
            signal.raise_signal(signal.SIGINT)
            catalog.set_info("second", "2")
        assert (catalog.info("first"), catalog.info("second")) == ("1", "2")
