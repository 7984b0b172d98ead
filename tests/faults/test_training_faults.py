"""Training that is killed with SIGKILL, and disks that fill up: nothing saved is ever lost."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch

from datatools.errors import InputError
from txtdiff.config_files import config_to_toml
from txtdiff.training import checkpoint as checkpoints
from txtdiff.training import tensor_files
from txtdiff.training.checkpoint import (
    newest_checkpoint,
    remove_old_checkpoints,
    sweep,
    verify_checkpoint,
    write_checkpoint,
)

sys.path.append(str(Path(__file__).parents[1] / "txtdiff"))
from tiny import tiny_catalog, tiny_config

from txtdiff.training.trainer import train

FILES = {
    "a.safetensors": {"w": torch.arange(200_000.0)},
    "b.safetensors": {"v": torch.ones(9)},
    "c.json": "{}",
}

FORK = multiprocessing.get_context("fork")  # the child needs no new start of Python and torch


def save_forever(run: Path, acknowledge: Connection) -> None:
    for images in range(1, 10**9):
        files = {"a.safetensors": {"w": torch.full((500_000,), float(images))}, "c.json": str(images)}
        remove_old_checkpoints(write_checkpoint(run, images, files), 3)
        acknowledge.send(images)


def test_killed_while_saving(tmp_path: Path) -> None:
    """What was acknowledged before the kill is there after it, and a start sweeps the rest away."""
    chance = random.Random(0)
    for round_number in range(12):
        run = tmp_path / str(round_number)
        here, there = FORK.Pipe(duplex=False)
        process = FORK.Process(target=save_forever, args=(run, there))
        process.start()
        there.close()
        last = here.recv()  # the first one is on disk: the kill comes while others are written
        time.sleep(chance.uniform(0, 0.2))
        process.kill()
        process.join()
        with suppress(EOFError):
            while True:
                last = here.recv()
        newest = newest_checkpoint(run)
        assert newest is not None and int(newest.name.removeprefix("step-")) >= last
        assert (newest / "c.json").read_text() == newest.name.removeprefix("step-")
        sweep(run)
        assert not list(run.glob(".*"))


@pytest.mark.slow
def test_killed_while_training(tmp_path: Path) -> None:
    """kill -9 at random instants, the same command again: the same bytes as the run that never stopped."""
    catalog = tiny_catalog(tmp_path)
    config = tiny_config(catalog, "run.images=120", "run.save_every_images=8", "run.keep_checkpoints=2")
    train(config, tmp_path / "unbroken")
    chance, kills, out = random.Random(1), 0, tmp_path / "killed"
    while not (out / "step-120").exists():
        process = FORK.Process(target=train, args=(config, out))
        process.start()
        process.join(chance.uniform(0.2, 0.8) if kills < 3 else None)
        kills += process.is_alive()
        process.kill()
        process.join()
    assert kills >= 1
    names = ("model.safetensors", "average-0.9.safetensors", "optim.safetensors", "state.json", "config.toml")
    for name in names:
        ours, whole = ((run / "step-120" / name).read_bytes() for run in (out, tmp_path / "unbroken"))
        assert ours == whole, name
    assert (out / "metrics.jsonl").read_bytes() == (tmp_path / "unbroken" / "metrics.jsonl").read_bytes()


@pytest.mark.slow
def test_a_killed_run_goes_on_at_once_though_its_data_workers_live_on(tmp_path: Path) -> None:
    """Orphaned workers notice after seconds that their run is gone; until then they must keep nobody out."""
    catalog = tiny_catalog(tmp_path)
    steps = ("run.images=100000", "run.save_every_images=8", "run.keep_checkpoints=2")
    config, out = tiny_config(catalog, "data.workers=1", *steps), tmp_path / "run"
    for _ in range(2):
        before = newest_checkpoint(out)
        process = FORK.Process(target=train, args=(config, out))
        process.start()
        while newest_checkpoint(out) == before:
            assert process.is_alive(), "the same command did not go on"
            time.sleep(0.02)
        process.kill()
        process.join()


@pytest.mark.slow
def test_a_job_that_is_told_to_end_saves_what_it_has(tmp_path: Path) -> None:
    """Schedulers tell all of its processes, the data workers too."""
    steps = ("run.images=100000", "run.save_every_images=100000", "run.log_every_images=8")
    settings, out = tmp_path / "settings.toml", tmp_path / "run"
    settings.write_text(config_to_toml(tiny_config(tiny_catalog(tmp_path), "data.workers=2", *steps)))
    command = [sys.executable, "-m", "txtdiff", "train", str(settings), "--out", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as job:
        while not (out / "metrics.jsonl").exists():
            assert job.poll() is None
            time.sleep(0.02)
        time.sleep(1)  # until its workers wait for work
        os.killpg(job.pid, signal.SIGTERM)
        said = job.communicate(timeout=60)[1]
    assert job.returncode == 130 and "Traceback" not in said
    assert newest_checkpoint(out) is not None


def test_a_run_of_damaged_checkpoints_alone_does_not_begin_anew(tmp_path: Path) -> None:
    config, out = tiny_config(tiny_catalog(tmp_path), "run.images=4"), tmp_path / "run"
    train(config, out)
    (out / "step-4" / "model.safetensors").write_bytes(b"")
    log = (out / "metrics.jsonl").read_bytes()
    with pytest.raises(InputError, match=r"no checkpoint in .* is whole"):
        train(config, out)
    assert (out / "metrics.jsonl").read_bytes() == log


class FullDisk:
    """Fails the n-th of the calls it wraps, as a full disk does."""

    def __init__(self, fail_at: int) -> None:
        self.left = fail_at

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return function(*args, **kwargs)

        return call


@pytest.mark.parametrize("fail_at", range(1, 30))
def test_no_space_at_every_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail_at: int) -> None:
    """Each write, sync and rename of a save fails in turn: the checkpoint before it stays whole."""
    write_checkpoint(tmp_path, 1, FILES)
    disk = FullDisk(fail_at)
    stream = tensor_files.stream_tensors
    with monkeypatch.context() as patch:
        patch.setattr(
            tensor_files, "stream_tensors", lambda tensors, write: stream(tensors, disk.wrap(write))
        )
        patch.setattr(os, "fsync", disk.wrap(os.fsync))
        patch.setattr(Path, "rename", disk.wrap(Path.rename))
        patch.setattr(Path, "mkdir", disk.wrap(Path.mkdir))
        try:
            write_checkpoint(tmp_path, 2, FILES)
        except OSError as error:
            assert error.errno == errno.ENOSPC
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    verify_checkpoint(tmp_path / "step-1")
    assert newest.name == "step-2" or disk.left <= 0
    assert not list(tmp_path.glob(".*"))


def test_a_full_disk_ends_training_with_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(tiny_catalog(tmp_path), "run.images=16", "run.save_every_images=8")
    disk = FullDisk(8)
    stream = tensor_files.stream_tensors
    with monkeypatch.context() as patch:
        # 3 tensor files in the first checkpoint, so this is in the second.
        patch.setattr(
            tensor_files,
            "stream_tensors",
            lambda tensors, write: disk.wrap(stream)(tensors, write),
        )
        disk.left = 6
        with pytest.raises(InputError, match="cannot be written"):
            train(config, tmp_path / "run")
    assert newest_checkpoint(tmp_path / "run") == tmp_path / "run" / "step-8"
    assert train(config, tmp_path / "run").kind == "finished"


class PowerCut:
    """What a disk may hold after a power cut: files as last synced, names as some order of writing left them.

    Wraps the calls by which a checkpoint is written and notes each. After any number of them the power may
    fail; content that was not synced is then gone, and of changes to a directory (new names, renames) that
    was not synced since any first part may have reached the disk.
    """

    def __init__(self, patch: pytest.MonkeyPatch, root: Path) -> None:
        self.root, self.log = root, []
        fsync, mkdir, rename, rmtree = os.fsync, Path.mkdir, Path.rename, shutil.rmtree

        def noted_fsync(handle: int) -> None:
            path = Path(f"/proc/self/fd/{handle}").readlink()
            if path.is_file():
                self.log.append(("name", path, None))
            self.log.append(("sync", path, path.read_bytes() if path.is_file() else None))
            fsync(handle)

        def noted_mkdir(path: Path, *args: Any, **kwargs: Any) -> None:
            new = not path.exists()
            mkdir(path, *args, **kwargs)
            if new:
                self.log.append(("name", path, None))

        def noted_rename(path: Path, target: Path) -> Path:
            self.log.append(("rename", path, target))
            return rename(path, target)

        def noted_rmtree(path: Path, *args: Any, **kwargs: Any) -> None:
            if path.exists():
                self.log.append(("remove", path, None))
            rmtree(path, *args, **kwargs)

        patch.setattr(os, "fsync", noted_fsync)
        patch.setattr(Path, "mkdir", noted_mkdir)
        patch.setattr(Path, "rename", noted_rename)
        patch.setattr(shutil, "rmtree", noted_rmtree)

    def states(self, n: int) -> Iterator[dict[Path, bytes]]:
        """Every content of the disk that a cut after n calls may leave, path -> bytes of synced files."""
        pending = [i for i, (what, *_) in enumerate(self.log[:n]) if what != "sync" and not self._safe(i, n)]
        for kept in range(len(pending) + 1):
            lost = {*pending[kept:]}
            files: dict[Path, bytes] = {}
            names: set[Path] = {self.root.parent}
            for i, (what, path, extra) in enumerate(self.log[:n]):
                if what == "sync" and extra is not None:
                    files[path] = extra
                elif what == "name" and i not in lost:
                    names.add(path)
                elif what == "rename" and i not in lost:
                    files = {self._moved(file, path, extra): data for file, data in files.items()}
                    names = {self._moved(name, path, extra) for name in names}
                elif what == "remove" and i not in lost:
                    files = {file: data for file, data in files.items() if path not in file.parents}
            yield {file: data for file, data in files.items() if self._reachable(file, names)}

    def _safe(self, i: int, n: int) -> bool:
        """Whether the directory that call i changed was synced afterwards, before call n."""
        changed = self.log[i][1].parent
        return any(what == "sync" and path == changed for what, path, _ in self.log[i + 1 : n])

    def _reachable(self, file: Path, names: set[Path]) -> bool:
        folders = [folder for folder in file.parents if folder.is_relative_to(self.root)]
        return all(path in names for path in (file, *folders))

    @staticmethod
    def _moved(path: Path, old: Path, new: Path) -> Path:
        return new / path.relative_to(old) if path == old or old in path.parents else path


def power_cuts(tmp_path: Path, patch: pytest.MonkeyPatch) -> list[str]:
    """Save twice and remove the first, cut the power everywhere; what was found to be lost."""
    run = tmp_path / "disk" / "run"
    run.parent.mkdir()
    disk, acknowledged = PowerCut(patch, run), [(0, 0)]
    for images in (1, 2, 3):
        path = write_checkpoint(run, images, FILES)
        acknowledged.append((len(disk.log), images))
        remove_old_checkpoints(path, 2)
    patch.undo()
    lost = []
    for n in range(len(disk.log) + 1):
        promised = max(images for at, images in acknowledged if at <= n)
        for i, files in enumerate(disk.states(n)):
            after = tmp_path / f"{n}-{i}"
            for file, data in files.items():
                path = after / file.relative_to(run)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            newest = newest_checkpoint(after)
            found = int(newest.name.removeprefix("step-")) if newest else 0
            if found < promised:
                lost.append(f"after call {n}: {promised} was promised, {found} is there")
    assert len(disk.log) > 20 or checkpoints.os is not os
    return lost


def test_what_was_not_synced_is_lost_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert power_cuts(tmp_path, monkeypatch) == []


@pytest.mark.parametrize("forgotten", ["the files", "the directory of the run"])
def test_the_power_cut_would_show_a_sync_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if forgotten == "the files":
            unsynced = types.SimpleNamespace(fsync=lambda handle: None, getpid=os.getpid)
            patch.setattr(checkpoints, "os", unsynced)
        else:
            patch.setattr(checkpoints, "fsync_directory", lambda folder: None)
        assert power_cuts(tmp_path, monkeypatch)
