"""What a run shows while it runs: trackers, copies of checkpoints, grids, curves, the first batch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import wandb
from catalogs import make_pictures, write_catalog
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import tiny_catalog, tiny_config

from datatools.decode import decode
from datatools.errors import InputError
from txtdiff.cascade import to_uint8
from txtdiff.cli import main
from txtdiff.data.batch import collate, conditions_of
from txtdiff.data.pictures import open_pictures, rows_for
from txtdiff.training.checkpoint import verify_checkpoint
from txtdiff.training.first_batch import dump_batch
from txtdiff.training.grid import prepare_grid
from txtdiff.training.inputs import make_inputs
from txtdiff.training.trainer import train


def lines(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_trackers_are_told_what_the_log_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real event files, read back; a run that goes on goes on in the same curves."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    catalog, out = tiny_catalog(tmp_path), tmp_path / "run"
    trackers = "run.trackers=tensorboard,wandb"
    train(tiny_config(catalog, "run.images=24", "run.log_every_images=4", trackers), out)
    train(tiny_config(catalog, "run.images=48", "run.log_every_images=4", trackers), out)
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    told = lines(out / "metrics.jsonl")
    assert [line["images"] for line in told] == list(range(4, 49, 4))
    for name in ("loss", "grad_norm", "lr"):
        scalars = events.Scalars(name)
        assert [event.step for event in scalars] == [line["images"] for line in told]
        assert [event.value for event in scalars] == pytest.approx([line[name] for line in told], rel=1e-6)
    assert {"loss_q0", "loss_q1", "loss_q2", "loss_q3"} <= set(events.Tags()["scalars"])
    [first, second] = sorted((out / "wandb").glob("offline-run-*/run-*.wandb"))
    assert first.name == second.name  # one run, two parts
    assert b"grad_norm" in first.read_bytes() and b"grad_norm" in second.read_bytes()


def test_weights_and_biases_without_a_key_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wandb.teardown()  # which may have read a variable of another test
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    config = tiny_config(tiny_catalog(tmp_path), "run.images=8", "run.trackers=wandb")
    with pytest.raises(InputError, match="No API key configured") as raised:
        train(config, tmp_path / "run")
    assert raised.value.what.startswith(f'run.trackers = "wandb": Weights & Biases does not take {tmp_path}')
    assert "wandb login" in str(raised.value.remedy) and "WANDB_MODE=offline" in str(raised.value.remedy)
    assert "Traceback" not in capsys.readouterr().err


def test_copies_stay_when_checkpoints_go(tmp_path: Path) -> None:
    """A bucket may hold what others put there, or be a run's archive: nothing is ever removed from it."""
    bucket = tmp_path / "bucket"
    changes = ("run.images=32", "run.save_every_images=8", "run.keep_checkpoints=2")
    train(tiny_config(tiny_catalog(tmp_path), *changes, f"run.upload=file://{bucket}"), tmp_path / "run")
    kept = {"run": ["step-24", "step-32"], "bucket": ["step-16", "step-24", "step-32", "step-8"]}
    for folder, names in kept.items():
        assert sorted(path.name for path in (tmp_path / folder).glob("*step-*")) == names
        for path in (tmp_path / folder).glob("step-*"):
            verify_checkpoint(path)


def test_checkpoints_are_copied_and_failed_copies_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog, bucket = tiny_catalog(tmp_path), tmp_path / "bucket"

    def stand_in_the_way() -> bool:
        """From the first step to the first checkpoint."""
        if not (tmp_path / "run" / "step-8").exists():
            bucket.write_text("in the way")
        elif bucket.is_file():
            bucket.unlink()
        return False

    changes = ("run.images=24", "run.save_every_images=8", f"run.upload=file://{bucket}/runs")
    outcome = train(tiny_config(catalog, *changes), tmp_path / "run", stand_in_the_way)
    assert "step-8 was not copied" in capsys.readouterr().err
    assert (outcome.not_uploaded, outcome.failures) == ((), {})
    for name in ("step-8", "step-16", "step-24"):
        verify_checkpoint(bucket / "runs" / name)
    words = [
        "train",
        "--catalog",
        catalog,
        "--out",
        tmp_path / "other",
        "--images",
        4,
        "--preset",
        "mini-base",
    ]
    (tmp_path / "full").write_text("in the way")
    url = f"file://{tmp_path}/full"
    words += ["--set", f"run.upload={url}", "--set", "run.grid_pictures=0", "--set", "data.batch_size=4"]
    monkeypatch.setattr("sys.argv", ["txtdiff", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr().err
    assert ended.value.code == 1 and f"not copied to {url}: step-4" in told
    assert "pictures that could not be read" not in told


def test_the_first_batch_is_what_the_network_gets(tmp_path: Path) -> None:
    rows = make_pictures(tmp_path / "pictures", 4, (16, 16))
    catalog = write_catalog(tmp_path / "catalog.duckdb", rows)
    plain = ("data.crop.probability=0", "data.crop.min_area=0.75", "data.no_text.flip_probability=0")
    changes = ("run.images=4", "run.save_first_batch=true", "data.drop_txt=0", "data.drop_all=0", *plain)
    train(tiny_config(catalog, *changes), tmp_path / "run")
    dumped = tmp_path / "run" / "first_batch"
    found = {
        (dumped / f"{i:04}.txt").read_text(): np.asarray(Image.open(dumped / f"{i:04}.png")) for i in range(4)
    }
    assert len(found) == 4
    for row in rows:
        assert np.array_equal(found[row["text"]], decode(Path(row["uri"]).read_bytes()))


def test_a_colourisers_grid_and_first_batch_show_the_grey_it_is_given(tmp_path: Path) -> None:
    up = ("model.upsampler.small_size_px=8", "model.upsampler.low_res_channels=1", "run.grid_pictures=3")
    plain = ("data.crop.probability=0", "data.crop.min_area=0.75", "data.no_text.flip_probability=0")
    config = tiny_config(tiny_catalog(tmp_path), *up, *plain, "data.drop_txt=0")
    rows = rows_for(config.data, config.model)
    dataset = open_pictures(rows, config.data, config.model, config.run.seed)
    batch = collate([dataset[position] for position in range(3)], conditions_of(config.model))
    given = make_inputs(batch, config, torch.device("cpu")).cond["low_res"]
    assert given.shape == (3, 1, 8, 8)
    torch.testing.assert_close(prepare_grid(rows, config, torch.device("cpu"))["low_res"], given)
    dump_batch(batch, config, tmp_path)
    dumped = [np.asarray(Image.open(tmp_path / f"{i:04}_lowres.png")) for i in range(3)]
    assert np.array_equal(np.stack(dumped), to_uint8(given))


def test_grids_and_curves_are_pictures_of_the_run(tmp_path: Path) -> None:
    """The grid has the same noise every time, comes from the average, and a network without text has one."""
    catalog, out = tiny_catalog(tmp_path), tmp_path / "run"
    changes = ("run.images=48", "run.grid_every_images=16", "run.grid_pictures=5", "run.grid_steps=3")
    train(tiny_config(catalog, *changes, "optim.lr=0.01"), out)
    grids = [np.asarray(Image.open(out / "grids" / f"{n}.png")).astype(int) for n in (16, 32, 48)]
    assert {grid.shape for grid in grids} == {(32, 48, 3)}
    assert (grids[0][16:, 32:] == 255).all()  # five pictures in six places
    assert not np.array_equal(grids[0], grids[2])
    train(tiny_config(catalog, *changes, "optim.lr=0.01"), tmp_path / "again")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "again" / "grids" / "48.png")), grids[2])
    curve = np.asarray(Image.open(out / "loss.png"))
    assert curve.shape == (500, 900, 3) and (curve == 0).all(-1).sum() > 300  # a black line
    unconditional = ("model.text=none", "optim.warmup_images=0", "data.drop_txt=0")
    train(tiny_config(catalog, *changes, *unconditional), tmp_path / "plain")
    assert (tmp_path / "plain" / "grids" / "48.png").exists()
    assert torch.is_grad_enabled()
