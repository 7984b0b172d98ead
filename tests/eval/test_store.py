"""The store keeps its promises when files are damaged and when it is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from eval_fakes import fill, hide, right, store_path, wrong

from eval.board import Score
from eval.leaderboard import load_board
from eval.scoring import replace_scores
from eval.store import open_store


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


def test_an_interrupt_inside_a_query_ends_the_command_with_130(tmp_path: Path) -> None:
    open_store(store_path(tmp_path), "write").close()
    endless = "SELECT sum(a.range * b.range % 7) FROM range(10000000) a, range(10000000) b"
    command = [sys.executable, "-m", "eval", "query", endless, "--store", str(store_path(tmp_path))]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
        wait_until_busy(child.pid)
        child.send_signal(signal.SIGINT)
        told = child.communicate(timeout=60)[1]
    assert child.returncode == 130
    assert "Traceback" not in told


def wait_until_busy(pid: int, cpu_s: float = 8.0) -> None:
    """Until a process has used more CPU than starting takes: it is inside its query then."""
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    while True:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if int(fields[11]) + int(fields[12]) > cpu_s * ticks_per_s:
            return
        time.sleep(0.05)
