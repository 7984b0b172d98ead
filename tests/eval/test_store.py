"""The store keeps its promises when files are damaged and when it is interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import duckdb
import pytest
from eval_fakes import fill, hide, right, store_path, wrong

from eval.leaderboard import load_board
from eval.metrics.score import Score
from eval.scoring.steps import replace_scores
from eval.store import open_store
from eval.store import store as store_module


def test_a_corrupt_picture_is_written_again(tmp_path: Path) -> None:
    with open_store(store_path(tmp_path), "write") as store:
        sha256 = store.add_picture(hide("sign"))
        path = store.picture_path(sha256)
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + b"x")
        assert store.add_picture(hide("sign")) == sha256
        assert path.read_bytes() == whole


def test_scores_are_replaced_as_a_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(store_path(tmp_path), "write") as store:
        plan, _ = fill(store, {"right": right})
        [setting] = plan.settings
        replace_scores(store, setting.id, "old", {"kid": Score(1.0)})
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(store, "execute", interrupt)
            patch.setattr(store, "write", interrupt)
            replace_scores(store, setting.id, "new", {"kid": Score(2.0)})
        assert load_board(store).rows[0].scores["kid"].value == 1
        replace_scores(store, setting.id, "new", {"kid": Score(3.0)})
        replace_scores(store, setting.id, "new", {"kid": Score(4.0)})
        assert store.rows("SELECT protocol_id, value FROM scores WHERE metric = 'kid'") == [("new", 4.0)]


def interrupt(*args: object) -> None:
    raise KeyboardInterrupt


def test_a_board_leaves_out_what_was_not_scored_yet_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_store(store_path(tmp_path), "write") as store:
        plan, _ = fill(store, {"right": right, "killed": wrong})
        store.execute("DELETE FROM scores WHERE setting_id = ?", [plan.settings[1].id])
        capsys.readouterr()
        assert [row.label for row in load_board(store).rows] == ["right"]
        assert "killed" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_inside_a_query_ends_the_command_with_130(
    tmp_path: Path, number: signal.Signals
) -> None:
    open_store(store_path(tmp_path), "write").close()
    endless = "SELECT sum(a.range * b.range % 7) FROM range(10000000) a, range(10000000) b"
    command = [sys.executable, "-m", "eval", "query", endless, "--store", str(store_path(tmp_path))]
    # What a shell runs in the background is born deaf to SIGINT, and so are its children.
    hear = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=hear) as child:
        wait_until_open(child, store_path(tmp_path))
        child.send_signal(number)
        try:
            told = child.communicate(timeout=30)[1]
        finally:
            child.kill()
    assert child.returncode == 130
    assert "Traceback" not in told


def wait_until_open(child: subprocess.Popen[str], path: Path) -> None:
    """Until a process has a file open, and a moment more: it is inside its query then."""
    while child.poll() is None and not any(
        fd.resolve() == path for fd in Path(f"/proc/{child.pid}/fd").iterdir()
    ):
        time.sleep(0.05)
    time.sleep(0.5)


def test_a_store_of_version_1_is_brought_up_to_date_with_all_it_holds(tmp_path: Path) -> None:
    path = store_path(tmp_path)
    with open_store(path, "write") as store:
        fill(store, {"a": right})
        scores = store.rows("SELECT * FROM scores ORDER BY ALL")
        for table in ("readings", "transcripts"):  # as version 1 had them
            store.execute(f"CREATE TEMP TABLE kept AS SELECT * EXCLUDE (region_id) FROM {table}")
            store.execute(f"DROP TABLE {table}")
            store.execute(f"CREATE TABLE {table} AS SELECT * FROM kept")
            store.execute("DROP TABLE kept")
        for column in ("regions", "region_id", "device"):
            store.execute(f"ALTER TABLE samples DROP COLUMN {column}")
        store.execute("ALTER TABLE prompts DROP COLUMN prompt")
        store.execute("DROP TABLE agreements")
        store.execute("DROP TABLE audits")
        store.execute("UPDATE meta SET value = '1' WHERE key = 'schema_version'")
    with open_store(path) as store:  # even to look at it
        assert store.rows("SELECT * FROM scores ORDER BY ALL") == scores
        assert load_board(store).rows[0].scores["em_ci"].value == 1
    with open_store(path, "write") as store:
        _, protocol = fill(store, {"b": right})
        assert store.rows("SELECT DISTINCT protocol_id FROM scores") == [(protocol.id,)]


def test_a_store_of_version_2_learns_what_pictures_were_made_on(tmp_path: Path) -> None:
    path = store_path(tmp_path)
    with open_store(path, "write") as store:
        fill(store, {"a": right})
        store.execute("ALTER TABLE samples DROP COLUMN device")
        store.execute("UPDATE meta SET value = '2' WHERE key = 'schema_version'")
    with open_store(path, "write") as store:
        fill(store, {"b": right})
        devices = store.rows(
            "SELECT setting_id, any_value(device) FROM samples GROUP BY ALL ORDER BY 2 NULLS FIRST"
        )
        assert [device for _, device in devices] == [None, "a quick hand"]
        assert {row.device for row in load_board(store).rows} == {None, "a quick hand"}


def test_a_store_that_another_brings_up_to_date_meanwhile_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store_path(tmp_path)
    with open_store(path, "write") as store:
        store.execute("ALTER TABLE samples DROP COLUMN device")
        store.execute("UPDATE meta SET value = '2' WHERE key = 'schema_version'")
    upgrade = store_module._upgrade

    def late(
        path: Path, old: duckdb.DuckDBPyConnection, version: str, mode: str
    ) -> duckdb.DuckDBPyConnection:
        old.close()
        monkeypatch.setattr(store_module, "_upgrade", upgrade)
        open_store(path).close()
        return upgrade(path, old, version, mode)

    monkeypatch.setattr(store_module, "_upgrade", late)
    with open_store(path) as store:
        assert store.rows("SELECT device FROM samples") == []


def test_ctrl_c_waits_for_the_end_of_a_transaction(tmp_path: Path) -> None:
    with open_store(tmp_path / "eval.duckdb", "write") as store:
        with pytest.raises(KeyboardInterrupt), store.transaction():
            store.execute("INSERT INTO meta VALUES ('first', '1')")
            signal.raise_signal(signal.SIGINT)
            store.execute("INSERT INTO meta VALUES ('second', '2')")
        found = store.rows("SELECT key FROM meta WHERE key IN ('first', 'second') ORDER BY key")
        assert found == [("first",), ("second",)]
