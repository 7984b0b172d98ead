"""A run stopped anywhere and called again is the run that never stopped, bit for bit."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import safetensors.torch
import torch
from catalogs import make_pictures, write_catalog
from PIL import Image
from tiny import TINY, tiny_catalog, tiny_config

from datatools.errors import InputError
from txtdiff.cli import main
from txtdiff.config_files import config_to_toml, make_config, settings_layer
from txtdiff.data.order import seed_at
from txtdiff.diffusion.losses import LossTerms
from txtdiff.model.unet import build_network
from txtdiff.stages import load_stage
from txtdiff.train_options import TrainFlags, run_config
from txtdiff.training import start, step, watch, weights
from txtdiff.training.checkpoint import list_checkpoints, newest_checkpoint
from txtdiff.training.distributed import Ranks, from_leader
from txtdiff.training.export import export_weights
from txtdiff.training.metrics import add_grad_norm, add_losses, averages_of, new_totals
from txtdiff.training.start import start_or_resume
from txtdiff.training.state import load_state
from txtdiff.training.trainer import train
from txtdiff.training.weights import load_network


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_catalog(tmp_path_factory.mktemp("data"))


def main_of(args: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["txtdiff", *args])
        main()
    assert not ended.value.code


def stop_after(n: int) -> Callable[[], bool]:
    left = n

    def stop() -> bool:
        nonlocal left
        left -= 1
        return left <= 0

    return stop


def files_of(checkpoint: Path, *, without: tuple[str, ...] = ()) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in checkpoint.iterdir() if path.name not in without}


@pytest.fixture(scope="module")
def unbroken(catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "unbroken"
    outcome = train(tiny_config(catalog), out)
    assert (outcome.kind, outcome.images, outcome.n_rows) == ("finished", 48, 10)
    return out


@pytest.mark.parametrize("stops", [[1], [5], [11], [2, 3, 1]])
def test_stopped_and_called_again(catalog: Path, unbroken: Path, tmp_path: Path, stops: list[int]) -> None:
    config = tiny_config(catalog)
    for n in stops:
        assert train(config, tmp_path, stop_after(n)).kind == "stopped"
    assert train(config, tmp_path).kind == "finished"
    assert files_of(tmp_path / "step-48") == files_of(unbroken / "step-48")
    assert (tmp_path / "metrics.jsonl").read_bytes() == (unbroken / "metrics.jsonl").read_bytes()
    assert train(config, tmp_path).kind == "was_finished"


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(catalog: Path, unbroken: Path, tmp_path: Path, workers: int) -> None:
    config = tiny_config(catalog, f"data.workers={workers}")
    train(config, tmp_path, stop_after(7))
    train(config, tmp_path)
    without = ("config.toml", "manifest.json")
    assert files_of(tmp_path / "step-48", without=without) == files_of(unbroken / "step-48", without=without)


def test_what_a_run_leaves(unbroken: Path) -> None:
    assert {path.name for path in unbroken.iterdir()} == {
        ".lock", "config.toml", "loss.png", "metrics.jsonl", "speed.jsonl", "step-48"
    }  # fmt: skip
    lines = [json.loads(line) for line in (unbroken / "metrics.jsonl").read_text().splitlines()]
    assert [line["images"] for line in lines] == [12, 24, 36, 48]
    assert all({"loss", "mse", "lr", "grad_norm"} <= set(line) for line in lines)
    assert lines[0]["lr"] == pytest.approx(1e-3 * 12 / 16)  # still warming up
    assert lines[-1]["lr"] == pytest.approx(1e-3)
    assert Image.open(unbroken / "loss.png").size == (900, 500)


def test_the_saved_config_reloads_to_the_same_run(catalog: Path, unbroken: Path) -> None:
    config = tiny_config(catalog)
    assert (unbroken / "config.toml").read_text() == config_to_toml(config)
    assert load_network(unbroken)[1] == config


def test_averages_move_and_are_what_is_loaded(unbroken: Path) -> None:
    averaged, raw, fast = (
        load_network(unbroken, weights)[0].state_dict() for weights in ("averaged", "raw", 0.5)
    )
    assert torch.equal(averaged["stem.weight"], load_network(unbroken, 0.9)[0].state_dict()["stem.weight"])
    for one, other in ((averaged, raw), (averaged, fast), (fast, raw)):
        assert not torch.equal(one["stem.weight"], other["stem.weight"])
    stored = safetensors.torch.load_file(unbroken / "step-48" / "average-0.9.safetensors")
    assert all(torch.equal(averaged[name], stored[name]) for name in stored)
    with pytest.raises(InputError, match=r"no average of rate 0\.7"):
        load_network(unbroken, 0.7)


def test_the_loss_falls(catalog: Path, tmp_path: Path) -> None:
    config = tiny_config(catalog, "run.images=320", "run.log_every_images=80", "optim.lr=3e-3")
    train(config, tmp_path)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.8 * losses[0]


def test_parts_of_a_batch_change_nothing(catalog: Path, tmp_path: Path) -> None:
    gradients = []
    for microbatch in (1, 3, 4):
        run = tmp_path / str(microbatch)
        train(tiny_config(catalog, "run.images=4", f"optim.microbatch={microbatch}"), run)
        gradients.append(safetensors.torch.load_file(run / "step-4" / "optim.safetensors"))
    for split in gradients[:2]:  # after one step Adam's first moment is the gradient
        for name, moment in gradients[2].items():
            assert torch.allclose(split[name], moment, rtol=1e-3, atol=1e-7), name


UPSAMPLER = (
    "model.upsampler.small_size_px=8", "model.upsampler.noise_conditioning=true",
    "diffusion.low_res_noise.max_step=100", "data.low_res.blur_probability=0.5",
    "run.grid_pictures=3", "run.grid_steps=2", "run.save_first_batch=true",
)  # fmt: skip


def test_an_upsampler_trains_and_draws(catalog: Path, tmp_path: Path) -> None:
    train(tiny_config(catalog, "run.images=8", *UPSAMPLER), tmp_path)
    assert Image.open(tmp_path / "grids" / "8.png").size == (32, 32)
    assert Image.open(tmp_path / "first_batch" / "0000.png").size == (16, 16)
    assert Image.open(tmp_path / "first_batch" / "0000_lowres.png").size == (8, 8)
    assert len(list((tmp_path / "first_batch").glob("*.txt"))) == 4


def test_drawing_and_saving_in_between_change_nothing(catalog: Path, unbroken: Path, tmp_path: Path) -> None:
    config = tiny_config(
        catalog,
        "run.grid_pictures=2",
        "run.grid_steps=2",
        "run.save_every_images=8",
        "run.keep_checkpoints=2",
    )
    train(config, tmp_path)
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-40", "step-48"]
    for name in ("model.safetensors", "average-0.9.safetensors", "optim.safetensors", "state.json"):
        assert (tmp_path / "step-48" / name).read_bytes() == (unbroken / "step-48" / name).read_bytes()


def test_a_damaged_newest_checkpoint_never_outlives_the_good_ones(catalog: Path, tmp_path: Path) -> None:
    """It has the highest number, and the run that passed it over saves below it."""
    train(tiny_config(catalog, "run.save_every_images=8"), tmp_path, stop_after(4))
    (tmp_path / "step-16" / "state.json").write_text("{}")
    config = tiny_config(catalog, "run.save_every_images=8", "run.keep_checkpoints=1")
    assert train(config, tmp_path, stop_after(1)).images == 12
    assert newest_checkpoint(tmp_path) == tmp_path / "step-12"
    assert train(config, tmp_path, stop_after(1)).images == 16
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-16"]
    assert newest_checkpoint(tmp_path) == tmp_path / "step-16"


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_a_run_that_diverged_ends_before_it_is_saved(
    catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    config = tiny_config(catalog, "run.save_every_images=8", "run.keep_checkpoints=1")
    train(config, tmp_path, stop_after(2))
    losses = step.training_losses

    def diverged(*args: Any) -> LossTerms:
        terms = losses(*args)
        if broken == "loss":
            return terms._replace(loss=terms.loss * math.nan)
        # The loss still is a number, but the weights are gone all the same.
        terms.loss.register_hook(lambda gradient: gradient * math.inf)
        return terms

    with monkeypatch.context() as patch:
        patch.setattr(step, "training_losses", diverged)
        with pytest.raises(InputError, match=r"at 12 images.*(loss is nan|gradient norm)") as caught:
            train(config, tmp_path)
    assert "optim.lr" in str(caught.value.remedy) and "optim.clip_grad_norm" in str(caught.value.remedy)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-8"]
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()
    assert train(config, tmp_path).kind == "finished"


def test_pictures_that_overflow_fp16_are_left_out_of_its_means() -> None:
    """The scaler leaves such a step out, and so does the log, which has to stay JSON."""
    loss = torch.tensor([1.0, math.inf, math.nan, 3.0])
    totals = new_totals("cpu")
    add_losses(totals, LossTerms(loss, loss, None), torch.tensor([0, 0, 999, 999]), 1000, overflow="left_out")
    add_grad_norm(totals, torch.tensor(math.inf), overflow="left_out")
    assert averages_of(totals) == {"loss": 2, "mse": 2, "loss_q0": 1, "loss_q3": 3}
    add_grad_norm(totals, torch.tensor(math.inf), overflow="counted")
    assert not totals.isfinite().all()


def test_a_run_that_only_overflows_in_fp16_ends(
    catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step is left out and the loss scale halved, for ever; one that overflows now and then goes on."""
    scaler, losses, n_calls = torch.amp.GradScaler, step.training_losses, 0
    # A CPU computes in fp32 whatever is asked for, so the scaler is put there by hand.
    monkeypatch.setattr(torch.amp, "GradScaler", lambda *_, **__: scaler("cpu", init_scale=2.0**-8))
    config = tiny_config(catalog, "run.images=400")

    def overflows(*args: Any, every: int) -> LossTerms:
        nonlocal n_calls
        n_calls += 1
        terms = losses(*args)
        return terms if n_calls % every else terms._replace(loss=terms.loss * math.inf)

    monkeypatch.setattr(step, "training_losses", partial(overflows, every=3))
    assert train(config, tmp_path / "now and then").kind == "finished"
    monkeypatch.setattr(step, "training_losses", partial(overflows, every=1))
    with pytest.raises(InputError, match=r"at 12 images no step .* in fp16, and the loss scale has fallen"):
        train(config, tmp_path / "always")
    assert not list_checkpoints(tmp_path / "always")


def test_one_process_trains_once_in_a_directory(catalog: Path, tmp_path: Path) -> None:
    """A second run would sweep away what the first is writing, and give up its lock."""
    config = tiny_config(catalog, "run.images=8")
    (tmp_path / "link").symlink_to(tmp_path / "run")

    def begin_another() -> bool:
        for out in (tmp_path / "run", tmp_path / "link"):
            with pytest.raises(InputError, match=r"this process is training in .* already"):
                train(config, out)
        return False

    assert train(config, tmp_path / "run", begin_another).kind == "finished"
    assert train(config, tmp_path / "run").kind == "was_finished"
    (tmp_path / "round").symlink_to(tmp_path / "round")
    with pytest.raises(InputError, match="round cannot be written"):
        train(config, tmp_path / "round")


@pytest.mark.parametrize("n_ranks", [1, 2])
def test_a_wish_to_stop_is_heard_whatever_the_log_waits_for(
    catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_ranks: int
) -> None:
    config = tiny_config(catalog, "run.log_every_images=1M")
    state = start_or_resume(config, tmp_path, torch.device("cpu"), Ranks())
    asking = watch.Watch(state, tmp_path, Ranks(n=n_ranks), None, None, None)
    monkeypatch.setattr(watch, "sum_over_ranks", lambda wish, ranks: wish)
    for n_steps in range(1, 100):
        state.images = n_steps * config.data.batch_size
        if asking.agree(stop=True):
            break
    assert n_steps == (1 if n_ranks == 1 else 16)


def test_what_a_run_goes_on_from_is_decided_once_for_all_ranks(
    catalog: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others may come later, when the first has converted or fetched something."""
    told: list[Any] = []

    def broadcast(objects: list[Any]) -> None:
        told[:] = objects

    def from_first(objects: list[Any]) -> None:
        objects[:] = told

    cpu, config = torch.device("cpu"), tiny_config(catalog)
    monkeypatch.setattr(torch.distributed, "broadcast_object_list", broadcast)
    assert start_or_resume(config, unbroken, cpu, Ranks(0, 2)).images == 48
    monkeypatch.setattr(torch.distributed, "broadcast_object_list", from_first)
    assert start_or_resume(config, tmp_path, cpu, Ranks(1, 2)).images == 48  # where it sees nothing
    monkeypatch.setattr(torch.distributed, "broadcast_object_list", broadcast)
    missing = tiny_config(catalog, f"run.init={tmp_path / 'model1.pt'}")
    for rank in (0, 1):
        with pytest.raises(InputError, match=r"model1\.pt is no modelN\.pt"):
            start_or_resume(missing, tmp_path, cpu, Ranks(rank, 2))
        monkeypatch.setattr(torch.distributed, "broadcast_object_list", from_first)
    monkeypatch.setattr(torch.distributed, "broadcast_object_list", broadcast)
    full = OSError(errno.ENOSPC, "No space left on device")
    for rank in (0, 1):
        with pytest.raises(OSError, match="No space left"):
            from_leader(Mock(side_effect=full), Ranks(rank, 2))
        monkeypatch.setattr(torch.distributed, "broadcast_object_list", from_first)


def test_a_checkpoint_is_hashed_once(
    catalog: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    digest = hashlib.file_digest

    def noted(file: Any, kind: str) -> Any:
        hashed.append(Path(file.name).name)
        return digest(file, kind)

    def begin() -> None:
        flags = TrainFlags(init=unbroken, catalog=catalog, images=4, changes=["run.grid_pictures=0"])
        start_or_resume(run_config(flags, None, []), tmp_path / "tuned", torch.device("cpu"), Ranks())

    monkeypatch.setattr(hashlib, "file_digest", noted)
    for use in (
        lambda: load_stage(unbroken, "averaged", "cpu"),
        lambda: export_weights(unbroken, tmp_path / "given"),
        begin,
    ):
        hashed.clear()
        use()
        assert hashed.count("model.safetensors") == hashed.count("optim.safetensors") == 1


def test_settings_and_weights_of_init_are_of_one_checkpoint(catalog: Path, tmp_path: Path) -> None:
    for images, lr in ((4, "1e-3"), (8, "5e-4")):
        train(tiny_config(catalog, f"run.images={images}", f"optim.lr={lr}"), tmp_path / "run")
    spoilt = tmp_path / "run" / "step-8" / "model.safetensors"
    spoilt.write_bytes(spoilt.read_bytes()[:-1] + b"!")
    flags = TrainFlags(init=tmp_path / "run", catalog=catalog, images=4)
    assert run_config(flags, None, []).optim.lr == 1e-3


def test_a_mistyped_rate_is_told_before_anything_is_read(
    unbroken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(weights, "read_tensors")
    with pytest.raises(InputError, match=r"no average of rate 0\.7"):
        load_network(unbroken, 0.7)


def test_a_run_leaves_the_precision_of_others_alone(catalog: Path, tmp_path: Path) -> None:
    train(tiny_config(catalog, "run.matmul_precision=medium", "run.images=8"), tmp_path)
    assert torch.get_float32_matmul_precision() == "highest"


def test_fp16_may_be_switched_on_when_a_run_goes_on(catalog: Path, unbroken: Path) -> None:
    """The checkpoint of a run without a loss scale holds none to go on from: the new one begins anew."""
    config = tiny_config(catalog)
    state = start_or_resume(config, unbroken, torch.device("cpu"), Ranks())
    state.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    load_state(state, unbroken / "step-48")
    assert state.images == 48
    assert state.scaler.get_scale() == 1024.0


def test_classes_train_and_are_sampled(catalog: Path, tmp_path: Path) -> None:
    changes = ["model.n_classes=12", "data.class_name=key", "data.drop_class=0.3", "optim.lr=0.01"]
    config = tiny_config(catalog, *changes, "run.images=80", "run.grid_pictures=4")
    train(config, tmp_path / "run", stop_after(3))
    train(config, tmp_path / "run")
    classes = json.loads((tmp_path / "run" / "classes.json").read_text())
    assert classes == {f"{i:03}.png": i for i in range(10)}
    network, _ = load_network(tmp_path / "run", "raw")
    assert network.class_embedding is not None
    table = network.class_embedding.weight
    torch.manual_seed(seed_at(0, "first_weights", 0))
    fresh = build_network(config.model).class_embedding
    assert fresh is not None
    moved = (table != fresh.weight).any(1)
    assert moved[11] and moved[:10].sum() >= 8 and not moved[10]  # 10 is no picture's, 11 is the withheld one
    pictures = {}
    for label in (2, 3):
        args = ["sample", "--base", str(tmp_path / "run"), "--txt", "a", "--class", str(label), "--n", "1"]
        main_of([*args, "--sampler", "ddim:4", "--out", str(tmp_path / str(label))])
        pictures[label] = (tmp_path / str(label) / "grid.png").read_bytes()
    assert pictures[2] != pictures[3]


def test_a_new_run_may_start_from_averages(catalog: Path, unbroken: Path, tmp_path: Path) -> None:
    config = tiny_config(catalog, f"run.init={unbroken}")
    state = start_or_resume(config, tmp_path, torch.device("cpu"), Ranks())
    given, _ = load_network(unbroken)
    assert state.images == 0 and state.started_from == str(unbroken)
    assert all(torch.equal(a, b) for a, b in zip(state.network.parameters(), given.parameters(), strict=True))


def test_a_picture_that_has_gone_is_replaced_and_counted(tmp_path: Path) -> None:
    rows = make_pictures(tmp_path / "pictures", 8)
    catalog = write_catalog(tmp_path / "catalog.duckdb", rows)
    Path(rows[2]["uri"]).unlink()
    Path(rows[5]["uri"]).write_bytes(b"no picture")
    outcome = train(tiny_config(catalog, "run.images=16"), tmp_path / "run")
    assert outcome.kind == "finished"
    assert outcome.failures["missing"] >= 1 and outcome.failures["unknown_format"] >= 1


def test_no_picture_can_be_read(tmp_path: Path) -> None:
    rows = make_pictures(tmp_path / "pictures", 4)
    catalog = write_catalog(tmp_path / "catalog.duckdb", rows)
    for row in rows:
        Path(row["uri"]).unlink()
    with pytest.raises(InputError, match="pictures in a row cannot be read"):
        train(tiny_config(catalog), tmp_path / "run")


def test_another_model_is_not_continued(catalog: Path, unbroken: Path) -> None:
    with pytest.raises(InputError, match=r"model\.channels: 32 -> 64"):
        train(tiny_config(catalog, "model.channels=64"), unbroken)


def test_settings_that_no_tensor_depends_on_may_change(catalog: Path, tmp_path: Path) -> None:
    """Memory, cadence, and where a tower's first weights lay, which another machine may not have."""
    size = "{width=32, layers=2, heads=1}"
    tower = ("tower=custom", "frozen=false", "join=pooled", f"size={size}", "weights=random")
    model = [*(f"model.captions.{setting}" for setting in tower), "averaging.lengths=0.1"]
    train(tiny_config(catalog, *model, "run.images=4"), tmp_path)
    free = (
        "model.captions.weights=elsewhere.pt", "model.captions.pretrained_tag=another", "model.dropout=0.1",
        "model.recompute_resolutions_px=8", "averaging.snapshot_every_images=8",
    )  # fmt: skip
    assert train(tiny_config(catalog, *model, *free, "run.images=8"), tmp_path).images == 8


def test_the_sizes_of_a_named_tower_may_be_spelled_out(catalog: Path) -> None:
    """As in a checkpoint that was converted from a run which trained its tower."""
    named = tiny_config(catalog, "model.captions.tower=ViT-B-32-quickgelu", "model.captions.join=pooled")
    size = "{width=512, layers=12, heads=8, vocab_size=49408, context_length=77}"
    spelled, other = (
        make_config(named.model_dump(), settings_layer([f"model.captions.size={given}"]))
        for given in (size, size.replace("layers=12", "layers=11"))
    )
    assert list(start._changes(named, spelled)) == []
    assert [name for name, _ in start._changes(named, other)] == ["model.captions.size.layers"]


def test_other_settings_may_change_and_are_named(
    catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny_config(catalog, "run.images=8"), tmp_path)
    assert train(tiny_config(catalog, "run.images=16", "optim.lr=5e-4"), tmp_path).images == 16
    told = capsys.readouterr().err
    assert "optim.lr: 0.001 -> 0.0005" in told and "run.images: 8 -> 16" in told


def test_what_cannot_start(catalog: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="how long to train"):
        train(tiny_config(catalog, "run.images=0"), tmp_path / "a")
    with pytest.raises(InputError, match="there is no catalog"):
        train(tiny_config(tmp_path / "none.duckdb"), tmp_path / "b")
    with pytest.raises(InputError, match="no usable picture"):
        train(tiny_config(catalog, 'data.where="n_chars > 99"'), tmp_path / "c")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        train(tiny_config(catalog), tmp_path / "file" / "run")
    with pytest.raises(InputError, match="no pictures to train on"):
        train(make_config(TINY), tmp_path / "d")
