"""Which workers are given up, and what is said of it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from small_reader import OPENER, draw

from datatools import runner as local
from datatools.decode import Limits
from datatools.ray_runner import RayRunner
from datatools.runner import LocalRunner, Runner
from datatools.scan import scan
from datatools.worker import Task, WorkerSetup

_SETUP = WorkerSetup(("small",), Limits(), OPENER)
_TIME_LIMIT_S = 1.0


def tasks(tmp_path: Path) -> list[tuple[Task]]:
    for number in range(4):
        draw(tmp_path / f"{number}.png", f"word{number}")
    return [(Task(image, "new", ("small",)),) for image in scan(tmp_path).images]


def causes_with_long_commits(runner: Runner, chunks: list[tuple[Task]]) -> list[str | None]:
    """Causes by picture when every outcome is worked on for longer than a picture may take."""
    causes = []
    try:
        runner.start()
        for outcomes in runner.run(chunks):
            causes += [outcome.cause for outcome in outcomes]
            time.sleep(1.2 * _TIME_LIMIT_S)
    finally:
        runner.stop()
    return causes


def test_a_worker_that_answered_while_others_were_committed_is_not_late(tmp_path: Path) -> None:
    runner = LocalRunner(_SETUP, 2, _TIME_LIMIT_S)
    assert causes_with_long_commits(runner, tasks(tmp_path)) == [None] * 4


@pytest.mark.slow
def test_an_actor_that_answered_while_others_were_committed_is_not_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}:{Path.cwd()}")
    runner = RayRunner(_SETUP, 2, _TIME_LIMIT_S, None)
    assert causes_with_long_commits(runner, tasks(tmp_path)) == [None] * 4


def test_going_on_with_fewer_workers_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runner = LocalRunner(_SETUP, 2, 20.0)
    spawn = runner._spawn

    def spawn_dead() -> local._Worker:  # as when the machine has no room for one more reader
        worker = spawn()
        worker.process.kill()
        return worker

    try:
        runner.start()
        monkeypatch.setattr(runner, "_spawn", spawn_dead)
        outcomes = [outcome for chunk in runner.run(tasks(tmp_path)) for outcome in chunk]
    finally:
        runner.stop()
    assert sorted(outcome.cause is None for outcome in outcomes) == [True] * 4
    assert "going on with 1 workers" in capsys.readouterr().err
