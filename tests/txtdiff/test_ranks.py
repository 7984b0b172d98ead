"""Several processes train what one trains: the same order, losses, counts and files."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from catalogs import make_pictures, write_catalog
from safetensors.torch import load_file
from tiny import tiny_catalog, tiny_config

from txtdiff.config import RunConfig
from txtdiff.config_files import config_to_toml
from txtdiff.training.contents import read_facts, read_header
from txtdiff.training.trainer import train
from txtdiff.training.weights import load_network

RUNS = """
import os, sys
from pathlib import Path
from txtdiff.config_files import file_layer, make_config
from txtdiff.training.trainer import train
for port, settings, out in zip(*[iter(sys.argv[1:])] * 3):
    os.environ["MASTER_PORT"] = port
    train(make_config(file_layer(Path(settings))), Path(out))
"""


def run_ranks(n_ranks: int, *runs: tuple[RunConfig, Path]) -> None:
    """Train runs one after the other in the same processes, as torchrun starts them."""
    words = []
    for i, (config, out) in enumerate(runs):
        settings = out.with_name(f"{out.name}-{i}.toml")
        settings.write_text(config_to_toml(config))
        words += [str(free_port()), str(settings), str(out)]
    shared = {
        **os.environ,
        "WORLD_SIZE": str(n_ranks),
        "MASTER_ADDR": "127.0.0.1",
        "OMP_NUM_THREADS": "1",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RUNS, *words],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=None if rank == 0 else subprocess.PIPE,
            text=True,
        )
        for rank in range(n_ranks)
    ]
    told = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * n_ranks
    assert "training" not in (told[-1] or "")  # one of them speaks


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def losses(run: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["images"], line["loss"]) for line in lines]


SPLIT = ("run.sharding=full", "averaging.lengths=0.1", "run.grid_pictures=2", "run.grid_steps=2")


def whole(catalog: Path, images: int, *changes: str) -> RunConfig:
    return tiny_config(
        catalog, "run.log_every_images=4", "data.drop_txt=0.3", f"run.images={images}", *changes
    )


def interrupted(catalog: Path, images: int) -> RunConfig:
    return tiny_config(catalog, "run.log_every_images=24", f"run.images={images}")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one process and of two; the two start once, for starting takes longest."""
    folder = tmp_path_factory.mktemp("ranks")
    good = tiny_catalog(folder)
    rows = make_pictures(folder / "spoilt", 10)
    bad = write_catalog(folder / "bad.duckdb", rows)
    Path(rows[3]["uri"]).write_bytes(b"no picture")
    train(whole(good, 80), folder / "one")
    train(interrupted(bad, 24), folder / "one-bad")
    sharded, two_bad = folder / "sharded", folder / "two-bad"
    run_ranks(
        2,
        (whole(good, 80), folder / "two"),
        (whole(good, 40, *SPLIT, "optim.microbatch=1"), sharded),
        (whole(good, 80, *SPLIT), sharded),
        (interrupted(bad, 16), two_bad),
        (interrupted(bad, 24), two_bad),
    )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["two", "sharded"])
def test_two_processes_train_what_one_trains(runs: Path, kind: str) -> None:
    """With the whole network in each process, and with it sharded and stopped in between."""
    one, run = runs / "one", runs / kind
    assert [images for images, _ in losses(run)] == list(range(4, 81, 4))
    for (_, a), (_, b) in zip(losses(one), losses(run), strict=True):
        assert b == pytest.approx(a, abs=1e-6)
    expected, ours = (load_network(each)[0].state_dict() for each in (one, run))
    # Biases before a normalisation have no gradient but rounding, which AdamW enlarges to whole steps.
    squares = load_file(one / "step-80" / "optim.safetensors")
    moved = [name for name in expected if squares[f"exp_avg_sq.{name}"].max() > 1e-14]
    assert len(moved) > 0.8 * len(expected)
    assert all(torch.allclose(expected[name], ours[name], atol=1e-4) for name in moved)


@pytest.mark.slow
def test_what_several_processes_hold_in_parts_is_written_whole(runs: Path) -> None:
    one, sharded = runs / "one", runs / "sharded"
    for name in ("model", "average-0.9", "optim"):
        file = f"step-80/{name}.safetensors"
        assert read_header(sharded / file) == read_header(one / file)
    assert (sharded / "grids" / "80.png").exists()
    assert len(list((sharded / "profiles").iterdir())) == 2
    # One process goes on with what several wrote.
    catalog = runs / "catalog.duckdb"
    train(whole(catalog, 88, *SPLIT), sharded)
    train(whole(catalog, 88), one)
    assert losses(sharded)[-1][1] == pytest.approx(losses(one)[-1][1], abs=1e-5)


@pytest.mark.slow
def test_sums_and_counts_are_carried_on_once_when_several_processes_go_on(runs: Path) -> None:
    """Stopped between two lines of the log: what was summed before counts once, not once a process."""
    [(images, loss)], [(_, expected)] = losses(runs / "two-bad"), losses(runs / "one-bad")
    assert images == 24 and loss == pytest.approx(expected, abs=1e-5)
    ours, theirs = (read_facts(runs / run / "step-24")["failures"] for run in ("two-bad", "one-bad"))
    assert ours == theirs != {}
