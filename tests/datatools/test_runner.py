"""Which workers are given up, and what is said of it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from small_reader import OPENER, draw

from datatools.bookkeeping.plan import Plan
from datatools.decode import Limits
from datatools.errors import InputError
from datatools.runner import LocalRunner, Runner, local
from datatools.runner.ray import RayRunner
from datatools.scan import scan
from datatools.worker.reading import Task, WorkerSetup

_SETUP = WorkerSetup(("small",), Limits(), OPENER)
_TIME_LIMIT_S = 60.0  # no picture takes so long, however busy the machine: the clock is put forward


def tasks(tmp_path: Path) -> list[tuple[Task]]:
    for number in range(4):
        draw(tmp_path / f"{number}.png", f"word{number}")
    return [(Task(image, "new", ("small",)),) for image in scan(tmp_path).images]


def causes_with_long_commits(
    runner: Runner, chunks: list[tuple[Task]], answer_late: Callable[[], None]
) -> list[str | None]:
    """Causes by picture when every outcome is worked on for longer than a picture may take."""
    causes = []
    try:
        runner.start(n_at_once=2)
        for outcomes in runner.run(chunks):
            causes += [outcome.cause for outcome in outcomes]
            answer_late()
    finally:
        runner.stop()
    return causes


def test_a_worker_that_answered_while_others_were_committed_is_not_late(tmp_path: Path) -> None:
    runner = LocalRunner(_SETUP, 2, _TIME_LIMIT_S)

    def answer_late() -> None:  # all that was handed out, by the clock after its time
        for worker in runner._workers:
            if worker.chunks:
                assert worker.pipe.poll(_TIME_LIMIT_S)
                worker.deadline = 0.0

    assert causes_with_long_commits(runner, tasks(tmp_path), answer_late) == [None] * 4


@pytest.mark.slow
def test_an_actor_that_answered_while_others_were_committed_is_not_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}:{Path.cwd()}")
    runner = RayRunner(_SETUP, 2, _TIME_LIMIT_S, None)
    runner._setup = replace(_SETUP, opener="not_there:open")  # of the same cluster, which takes long to start
    with pytest.raises(InputError, match=r"on the cluster: ModuleNotFoundError: No module named 'not_there'"):
        runner.start()
    runner._setup = _SETUP

    def answer_late() -> None:
        busy = list(runner._busy)
        if busy:
            _, waiting = runner._ray.wait(busy, num_returns=len(busy), timeout=_TIME_LIMIT_S)
            assert not waiting
        for work in runner._busy.values():
            work.deadline = 0.0

    assert causes_with_long_commits(runner, tasks(tmp_path), answer_late) == [None] * 4


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
        assert len(runner._workers) == 1
        monkeypatch.setattr(runner, "_spawn", spawn_dead)
        outcomes = [outcome for chunk in runner.run(tasks(tmp_path)) for outcome in chunk]
    finally:
        runner.stop()
    assert sorted(outcome.cause is None for outcome in outcomes) == [True] * 4
    assert "going on with 1 workers" in capsys.readouterr().err


def unopened(runner: Runner, tmp_path: Path) -> str:
    """What is said when no worker opens."""
    try:
        with pytest.raises(InputError) as error:
            list(runner.run(tasks(tmp_path)))
    finally:
        runner.stop()
    return error.value.what


def test_a_module_that_workers_lack_is_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    what = unopened(LocalRunner(replace(_SETUP, opener="not_there:open"), 2, 20.0), tmp_path)
    assert (
        what == "the readers cannot be opened in a worker: ModuleNotFoundError: No module named 'not_there'"
    )
    assert capsys.readouterr().err == ""


def test_a_worker_that_was_killed_while_it_opened_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = LocalRunner(_SETUP, 1, 20.0)
    spawn = runner._spawn

    def spawn_dead() -> local._Worker:
        worker = spawn()
        worker.process.kill()
        return worker

    monkeypatch.setattr(runner, "_spawn", spawn_dead)
    assert unopened(runner, tmp_path).endswith("the worker was ended by signal 9, as when memory runs out")


def test_chunks_and_answers_larger_than_a_pipe_do_not_block_each_other(tmp_path: Path) -> None:
    [image] = scan(draw(tmp_path / "a.png", "word").parent).images
    chunk = tuple(Task(replace(image, size_bytes=number), "new", ("small",)) for number in range(4000))
    assert len(pickle.dumps(chunk)) > 2**17  # and answers are larger still
    runner = LocalRunner(_SETUP, 1, 20.0)
    try:
        runner.start()
        outcomes = [outcome for done in runner.run([chunk] * 2) for outcome in done]
    finally:
        runner.stop()
    assert len(outcomes) == 8000
    assert 0.0 < (runner.usage.reading_share or 0.0) < 1.0


def test_a_chunk_that_waited_behind_a_crash_is_read(tmp_path: Path) -> None:
    for number in range(6):
        draw(tmp_path / f"{number}.png", "!crash" if number == 1 else f"word{number}")
    images = scan(tmp_path).images
    chunks = [tuple(Task(image, "new", ("small",)) for image in images[i : i + 2]) for i in (0, 2, 4)]
    runner = LocalRunner(_SETUP, 1, 20.0)
    try:
        runner.start()
        outcomes = [outcome for done in runner.run(chunks) for outcome in done]
    finally:
        runner.stop()
    causes = {outcome.task.image.key: outcome.cause for outcome in outcomes}
    assert causes == {f"{n}.png": "crashed" if n == 1 else None for n in range(6)}
    assert len(outcomes) == 6


def test_chunks_become_smaller_so_that_all_workers_end_together() -> None:
    row = {"uri": "a.png", "size_bytes": 1, "mtime_ns": 1, "state": "new", "engines": ["small"], "known": []}
    rows = [{"key": f"{n}.png", **row, "n_attempts": 0, "stored_uri": None} for n in range(100)]
    chunks = list(Plan(pa.Table.from_pylist(rows), 0, pa.table({})).chunks(8, n_workers=2))
    sizes = [len(chunk) for chunk in chunks]
    assert [task.image.key for chunk in chunks for task in chunk] == [row["key"] for row in rows]
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-1]) == (8, 1)
