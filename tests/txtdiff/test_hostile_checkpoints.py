"""Checkpoints made by a stranger, their manifest true to the lying files: refused at once, never run."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from test_fork_convert import Bomb
from tiny import tiny_catalog, tiny_config

from datatools.errors import InputError
from txtdiff.describe import describe
from txtdiff.training.checkpoint import MANIFEST
from txtdiff.training.trainer import train
from txtdiff.training.weights import load_network


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("honest")
    train(tiny_config(tiny_catalog(folder), "run.images=4"), folder / "run")
    return folder


def forge(checkpoint: Path, name: str, content: bytes) -> None:
    """Replace a file, or add one, and make the manifest say so."""
    (checkpoint / name).write_bytes(content)
    manifest = json.loads((checkpoint / MANIFEST).read_text())
    entry = {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest["files"][name] = entry
    (checkpoint / MANIFEST).write_text(json.dumps(manifest))


def header(content: object, data: bytes = b"") -> bytes:
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text + data


def settings(old: str, new: str) -> Callable[[Path], bytes]:
    def change(checkpoint: Path) -> bytes:
        text = (checkpoint / "config.toml").read_text()
        assert text.count(old) == 1, old
        return text.replace(old, new).encode()

    return change


def tensors(name: str, shape: tuple[int, ...]) -> Callable[[Path], bytes]:
    def change(checkpoint: Path) -> bytes:
        own = safetensors.torch.load_file(checkpoint / "model.safetensors")
        return safetensors.torch.save(own | {name: torch.zeros(shape)})

    return change


def moment(name: str) -> Callable[[Path], bytes]:
    return lambda at: header({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4))


LIE = {"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
MODEL, CONFIG, STATE, OPTIM = "model.safetensors", "config.toml", "state.json", "optim.safetensors"
FORGERIES: dict[str, tuple[str, Callable[[Path], bytes]]] = {
    "pickle for weights": (MODEL, lambda at: pickle.dumps({"w": Bomb(at.parent / "proof")})),
    "pickle for averages": ("average-0.9.safetensors", lambda at: pickle.dumps(Bomb(at.parent / "proof"))),
    "no data": (MODEL, lambda at: b""),
    "a header that claims terabytes": (MODEL, lambda at: header(LIE)),
    "a header longer than the file": (MODEL, lambda at: struct.pack("<Q", 2**62) + b"{}"),
    "a header of 120 MB": (MODEL, lambda at: struct.pack("<Q", 120_000_000) + b" " * 120_000_000),
    "a header a million deep": (MODEL, lambda at: struct.pack("<Q", 10**6) + b"[" * 10**6),
    "another shape": (MODEL, tensors("head.bias", (7,))),
    "a weight too many": (MODEL, tensors("../../outside", (2,))),
    "a network of petabytes": (CONFIG, settings("channels = 32\n", "channels = 1073741824\n")),
    "a network of a million blocks": (CONFIG, settings("n_res_blocks = 1\n", "n_res_blocks = 1000000\n")),
    "a text encoder a million deep": (CONFIG, settings("depth = 1\n", "depth = 1000000\n")),
    "a million levels": (CONFIG, settings("mult = [\n    1.0,", "mult = [\n" + "1.0," * 10**6)),
    "a patch larger than the picture": (CONFIG, settings("patch_size = 1\n", "patch_size = 1000000000\n")),
    "a setting of nobody": (CONFIG, settings("channels = 32\n", "channels = 32\nexec = 1\n")),
    "settings a million deep": (CONFIG, lambda at: b"x = " + b"[" * 900_000),
    "settings that are no text": (CONFIG, lambda at: bytes(range(128, 256))),
    "state a million deep": (STATE, lambda at: b"[" * 10**6),
    "state of a list": (STATE, lambda at: b"[1, 2]"),
    "state of strange types": (STATE, lambda at: b'{"images": "x", "totals": {}, "averaging_count": []}'),
    "moments of nobody": (OPTIM, moment("exp_avg.x")),
    "moments of another shape": (OPTIM, moment("exp_avg.head.bias")),
}  # fmt: skip


@pytest.mark.parametrize("what", FORGERIES)
def test_refused_within_a_second_and_nothing_executed(honest: Path, tmp_path: Path, what: str) -> None:
    shutil.copytree(honest / "run", tmp_path / "run")
    checkpoint = tmp_path / "run" / "step-4"
    name, content = FORGERIES[what]
    forge(checkpoint, name, content(checkpoint))
    config = tiny_config(honest / "catalog.duckdb", "run.images=8")
    uses: list[Callable[[], object]] = [lambda: train(config, tmp_path / "run")]
    if name in (MODEL, CONFIG, "average-0.9.safetensors"):
        uses.append(lambda: load_network(checkpoint))
    if name == STATE and what != "state of strange types":
        uses.append(lambda: describe(checkpoint))
    for use in uses:
        started = time.process_time()
        with pytest.raises(InputError):
            use()
        assert time.process_time() - started < 1
    assert not (tmp_path / "run" / "proof").exists()
    assert [path.name for path in (tmp_path / "run").glob("step-*")] == ["step-4"]
