"""Training that is killed with SIGKILL, and disks that fill up: nothing saved is ever lost."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from datatools.errors import InputError
from txtdiff.training import checkpoint as checkpoints
from txtdiff.training.checkpoint import newest_checkpoint, sweep, verify_checkpoint, write_checkpoint

sys.path.append(str(Path(__file__).parents[1] / "txtdiff"))
from tiny import tiny_catalog, tiny_config

from txtdiff.config_files import config_to_toml
from txtdiff.training.trainer import train

FILES = {
    "a.safetensors": {"w": torch.arange(200_000.0)},
    "b.safetensors": {"v": torch.ones(9)},
    "c.json": "{}",
}

SAVE_FOREVER = """
import sys, torch
from pathlib import Path
from txtdiff.training.checkpoint import remove_old_checkpoints, write_checkpoint
run = Path(sys.argv[1])
for images in range(1, 10**9):
    files = {"a.safetensors": {"w": torch.full((500_000,), float(images))}, "c.json": str(images)}
    write_checkpoint(run, images, files)
    remove_old_checkpoints(run, 3)
    print(images, flush=True)
"""

TRAIN = """
import sys
from pathlib import Path
from txtdiff.config_files import file_layer, make_config
from txtdiff.training.trainer import train
print("ready", flush=True)
train(make_config(file_layer(Path(sys.argv[1]))), Path(sys.argv[2]))
"""


def start(code: str, *args: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )


@pytest.mark.slow
def test_killed_while_saving(tmp_path: Path) -> None:
    """What was acknowledged before the kill is there after it, and a start sweeps the rest away."""
    chance = random.Random(0)
    acknowledged_in_all = 0
    for round_number in range(6):
        run = tmp_path / str(round_number)
        process = start(SAVE_FOREVER, run)
        assert process.stdout is not None
        last = int(process.stdout.readline())
        time.sleep(chance.uniform(0, 0.3))
        process.kill()
        for line in process.stdout:
            last = int(line)
        process.wait()
        newest = newest_checkpoint(run)
        assert newest is not None and int(newest.name.removeprefix("step-")) >= last
        assert (newest / "c.json").read_text() == newest.name.removeprefix("step-")
        sweep(run)
        assert not list(run.glob(".*"))
        acknowledged_in_all += last
    assert acknowledged_in_all > 6


@pytest.mark.slow
def test_killed_while_training(tmp_path: Path) -> None:
    """kill -9 at random instants, the same command again: the same bytes as the run that never stopped."""
    catalog = tiny_catalog(tmp_path)
    config = tiny_config(catalog, "run.images=240", "run.save_every_images=8", "run.keep_checkpoints=2")
    train(config, tmp_path / "unbroken")
    settings = tmp_path / "settings.toml"
    settings.write_text(config_to_toml(config))
    chance, kills = random.Random(1), 0
    out = tmp_path / "killed"
    while not (out / "step-240").exists():
        before = len(list(out.glob("step-*")))
        process = start(TRAIN, settings, out)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        deadline = time.monotonic() + chance.uniform(0.5, 1.5)
        while process.poll() is None and (time.monotonic() < deadline or kills >= 4):
            time.sleep(0.01)
        if process.poll() is None:
            process.kill()
            kills += 1
        process.wait()
        assert before == 0 or newest_checkpoint(out) is not None
    assert kills >= 1
    for name in (
        "model.safetensors",
        "average-0.9.safetensors",
        "optim.safetensors",
        "state.json",
        "config.toml",
    ):
        ours, whole = ((run / "step-240" / name).read_bytes() for run in (out, tmp_path / "unbroken"))
        assert ours == whole, name
    assert (out / "metrics.jsonl").read_bytes() == (tmp_path / "unbroken" / "metrics.jsonl").read_bytes()


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
    stream = checkpoints.stream_tensors
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "stream_tensors", lambda tensors, write: stream(tensors, disk.wrap(write)))
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
    stream = checkpoints.stream_tensors
    with monkeypatch.context() as patch:
        # 3 tensor files in the first checkpoint, so this is in the second.
        patch.setattr(
            checkpoints,
            "stream_tensors",
            lambda tensors, write: disk.wrap(stream)(tensors, write),
        )
        disk.left = 6
        with pytest.raises(InputError, match="cannot be written"):
            train(config, tmp_path / "run")
    assert newest_checkpoint(tmp_path / "run") == tmp_path / "run" / "step-8"
    assert train(config, tmp_path / "run").kind == "finished"
