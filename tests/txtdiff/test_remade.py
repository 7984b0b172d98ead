"""Small pictures that the base makes anew: which, how far from the shrunk ones, and what is told of them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import tiny_catalog, tiny_config

from datatools.errors import InputError
from txtdiff.cli import main
from txtdiff.config import RunConfig
from txtdiff.config_files import make_config, settings_layer
from txtdiff.data.batch import Batch, collate, conditions_of, to_network_range
from txtdiff.data.low_res import shrink
from txtdiff.data.pictures import open_pictures
from txtdiff.data.tokenizer import DROP_TEXT
from txtdiff.stages import Stage
from txtdiff.training.checkpoint import find_checkpoint
from txtdiff.training.export import export_weights
from txtdiff.training.inputs import make_inputs
from txtdiff.training.low_res import open_base, small_pictures
from txtdiff.training.trainer import train

BASE = "data.low_res.remade.base=pretrained:mini/base"
SETTINGS = [
    "model.image_size_px=128", "model.patch_size=4", "model.channels=32", "model.channel_mult=1",
    "model.text=none", "model.attention.kind=none", "model.n_res_blocks=1",
    "model.upsampler.small_size_px=32", "model.upsampler.noise_conditioning=true",
    "diffusion.low_res_noise={}", "data.synth.profile=mini", "data.drop_all=0",
    "data.batch_size=8", "data.workers=0", "run.device=cpu", "run.images=16", "run.grid_pictures=0",
    "data.low_res.remade.n_steps=4", "data.low_res.remade.min_steps=1", "data.low_res.remade.max_steps=2",
    "data.low_res.remade.probability=0.5", "data.low_res.remade.guidance_txt=4",
]  # fmt: skip
CPU = torch.device("cpu")


def configured(*changes: str) -> RunConfig:
    return make_config(settings_layer([*SETTINGS, BASE, *changes]))


@pytest.fixture(scope="module")
def batch() -> Batch:
    config = configured()
    pictures = open_pictures(None, config.data, config.model, 0)
    return collate([pictures[i] for i in range(8)], conditions_of(config.model))


@pytest.fixture(scope="module")
def base() -> Stage:
    opened = open_base(configured(), CPU)
    assert opened is not None
    return opened


def test_some_are_made_anew_and_keep_their_layout(batch: Batch, base: Stage) -> None:
    config, x0 = configured(), to_network_range(batch.pictures)
    small, is_remade = small_pictures(x0, batch, config, base)
    shrunk = shrink(x0, 32, config.data.low_res)
    moved = (small - shrunk).abs().flatten(1).mean(1)
    assert 0 < is_remade.sum() < len(batch)
    assert (moved[~is_remade] == 0).all()
    assert (moved[is_remade] > 1e-3).all()
    # The same strokes in the same places: what was changed is small beside what the picture shows.
    shown = (shrunk - shrunk.flatten(2).median(2).values[..., None, None]).square().flatten(1).mean(1)
    changed = (small - shrunk).square().flatten(1).mean(1)
    assert (changed[is_remade] < 0.5 * shown[is_remade]).all()


def test_a_picture_s_own_is_the_same_in_any_batch(batch: Batch, base: Stage) -> None:
    config, x0 = configured(), to_network_range(batch.pictures)
    together, _ = small_pictures(x0, batch, config, base)
    parts = [
        small_pictures(x0[part], batch.part(part), config, base)[0] for part in (slice(0, 3), slice(3, 8))
    ]
    torch.testing.assert_close(torch.cat(parts), together, atol=1e-5, rtol=0)


def test_the_network_is_told_that_they_carry_no_noise(batch: Batch, base: Stage) -> None:
    inputs = make_inputs(batch, configured(), CPU, base)
    small, is_remade = small_pictures(inputs.x0, batch, configured(), base)
    assert (inputs.cond["cond_timesteps"][is_remade] == 0).all()
    assert (inputs.cond["cond_timesteps"][~is_remade] > 0).any()
    assert torch.equal(inputs.cond["low_res"][is_remade], small[is_remade])


def test_a_run_stopped_and_called_again_is_the_unbroken_one(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(configured(), whole)
    train(configured("run.images=8"), parts)
    train(configured(), parts)
    for name in ("model.safetensors", "optim.safetensors"):
        assert (whole / "step-16" / name).read_bytes() == (parts / "step-16" / name).read_bytes()


def test_a_base_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    train(tiny_config(tiny_catalog(tmp_path), "run.images=4"), tmp_path / "tiny")
    for base, said in (
        (str(tmp_path / "tiny"), "makes pictures of 16 px"),
        ("pretrained:mini/upsampler", "is an upsampler"),
        (str(tmp_path / "none"), "there is no directory"),
    ):
        config = configured(f"data.low_res.remade.base={base}")
        with pytest.raises(InputError, match=said):
            train(config, tmp_path / "run")
    fitting = (
        "model.image_size_px=64",
        "model.upsampler.small_size_px=16",
        f"data.low_res.remade.base={tmp_path / 'tiny'}",
    )
    for change, said in (("guidance_capt=2", "guidance_capt has no effect"), ("n_steps=2000", "2000")):
        config = configured(*fitting, f"data.low_res.remade.{change}")
        with pytest.raises(InputError, match=said):
            train(config, tmp_path / "run")
    with pytest.raises(InputError, match="do not rise"):
        configured("data.low_res.remade.min_steps=3")


def test_without_its_text_a_picture_stays(batch: Batch, base: Stage) -> None:
    x0, withheld = to_network_range(batch.pictures), replace(batch, texts=[DROP_TEXT] * len(batch))
    _, is_remade = small_pictures(x0, withheld, configured(), base)
    assert not is_remade.any()


def test_the_base_is_the_one_that_the_run_began_with(tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(find_checkpoint(Path("pretrained:mini/base")), base / "step-120000")
    mine = f"data.low_res.remade.base={base}"
    train(configured(mine, "run.images=8"), tmp_path / "run")
    shutil.copytree(base / "step-120000", base / "step-120001")  # as when the base was trained further
    manifest = base / "step-120001" / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    with pytest.raises(InputError, match="not the model that this run began with"):
        train(configured(mine), tmp_path / "run")
    train(configured(f"{mine}/step-120000"), tmp_path / "run")
    shutil.rmtree(base)
    assert train(configured(mine), tmp_path / "run").kind == "was_finished"


def test_what_is_given_away_goes_on_without_the_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(configured("run.save_first_batch=yes"), tmp_path / "run")
    assert len(list((tmp_path / "run" / "first_batch").glob("*_lowres.png"))) == 8
    assert (tmp_path / "run" / "first_batch" / "0000.txt").read_text()
    given = export_weights(tmp_path / "run", tmp_path / "given")
    assert "remade" not in (given / "config.toml").read_text()
    for init in ("given", "run"):
        words = [
            "train",
            "--init",
            str(tmp_path / init),
            "--synth",
            "mini",
            "--images",
            "8",
            "--out",
            init + "-on",
        ]
        monkeypatch.setattr("sys.argv", ["txtdiff", *words, "--set", "run.grid_pictures=0"])
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
