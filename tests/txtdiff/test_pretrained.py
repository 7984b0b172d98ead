"""Checkpoints to give away, and those that come with the package."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import tiny_catalog, tiny_config

from datatools.errors import InputError
from txtdiff.cascade import SamplerSettings, load_cascade
from txtdiff.describe import _reads, describe
from txtdiff.model.config import ModelConfig, TextConfig
from txtdiff.pretrained import bundled_names, bundled_stage, cascade_paths, recommended, unfamiliar_texts
from txtdiff.sample_files import Wishes, plan_stages
from txtdiff.sample_options import SampleFlags, sampling_plan
from txtdiff.train_options import TrainFlags, run_config
from txtdiff.training.checkpoint import verify_checkpoint
from txtdiff.training.export import export_weights
from txtdiff.training.trainer import train
from txtdiff.training.weights import load_network


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(tiny_config(tiny_catalog(folder), "run.images=12"), folder / "run")
    return folder / "run"


def test_an_exported_checkpoint_has_the_averaged_weights_alone(run: Path, tmp_path: Path) -> None:
    exported = export_weights(run, tmp_path / "out")
    verify_checkpoint(exported)
    assert {path.name for path in exported.iterdir()} == {
        "config.toml", "manifest.json", "model.safetensors", "state.json"
    }  # fmt: skip
    whole = sum(path.stat().st_size for path in (run / "step-12").iterdir())
    assert sum(path.stat().st_size for path in exported.iterdir()) < whole / 6
    assert str(run.parent) not in (exported / "config.toml").read_text()
    averaged, given = load_network(run)[0].state_dict(), load_network(exported)[0].state_dict()
    for name, tensor in averaged.items():
        torch.testing.assert_close(given[name], tensor, rtol=1e-3, atol=1e-6)
    raw = load_network(export_weights(run, tmp_path / "raw", "raw"), "raw")[0].state_dict()
    assert any(not torch.allclose(raw[name], averaged[name], rtol=1e-3) for name in raw)
    with pytest.raises(InputError, match="has no average of rate"):
        load_network(exported, 0.5)


def test_the_caption_tower_lies_in_a_file_of_its_own(tmp_path: Path) -> None:
    size = "{width=32, layers=2, heads=1}"
    tower = ["tower=custom", "weights=random", "frozen=false", "join=pooled", f"size={size}"]
    changes = [f"model.captions.{change}" for change in tower]
    train(tiny_config(tiny_catalog(tmp_path), "run.images=4", *changes), tmp_path / "run")
    exported = export_weights(tmp_path / "run", tmp_path / "out")
    assert (exported / "captions.safetensors").stat().st_size > (49408 * 32) * 2
    averaged, given = load_network(tmp_path / "run")[0].state_dict(), load_network(exported)[0].state_dict()
    for name, tensor in averaged.items():
        torch.testing.assert_close(given[name], tensor, rtol=1e-3, atol=1e-6)
    assert describe(exported)["parameters"] == describe(tmp_path / "run")["parameters"]
    (exported / "captions.safetensors").unlink()
    with pytest.raises(InputError, match=r"captions\.safetensors is missing"):
        load_network(exported)


def test_a_run_takes_settings_and_weights_from_where_it_starts(run: Path, tmp_path: Path) -> None:
    exported = export_weights(run, tmp_path / "out")
    catalog = tiny_catalog(tmp_path)
    changes = ["run.grid_pictures=0", "optim.lr=1e-9"]
    flags = TrainFlags(init=exported, catalog=catalog, images=4, changes=changes)
    config = run_config(flags, None, [])
    given = load_network(exported)[1]
    assert config.model == given.model and config.diffusion == given.diffusion
    assert config.data.catalog == catalog and config.data.batch_size == given.data.batch_size
    assert config.run.log_every_images != given.run.log_every_images
    train(config, tmp_path / "tuned")
    tuned, start = load_network(tmp_path / "tuned")[0].state_dict(), load_network(exported)[0].state_dict()
    for name, tensor in start.items():
        torch.testing.assert_close(tuned[name], tensor, rtol=1e-3, atol=1e-6)


def test_every_bundled_cascade_is_whole_and_loads() -> None:
    assert bundled_names() == ["mini"]
    for name in bundled_names():
        base = Path(f"pretrained:{name}")
        paths = cascade_paths(base, [])
        cascade = load_cascade(paths)
        assert len(cascade.stages) == len(paths) == 2
        plans = plan_stages(cascade, Wishes(), recommended(base))
        assert plans[0] == SamplerSettings.model_validate(recommended(base)["base"])
        wished = plan_stages(cascade, Wishes("ddim:7", 2.5), recommended(base))
        assert (wished[0].sampler, wished[0].n_steps, wished[0].guidance_txt) == ("ddim", 7, 2.5)
        folder = bundled_stage(str(base)).parent
        sizes = [path.stat().st_size for path in folder.rglob("*.safetensors")]
        assert max(sizes) < 15e6 and sum(sizes) < 24e6
        assert (folder / "README.md").is_file()


def test_a_text_that_was_never_learnt_is_named() -> None:
    mini = Path("pretrained:mini")
    assert unfamiliar_texts(mini, ["OPEN", "", "SUMMER"]) == []
    foreign = ["open", "SUMMERS", "A\nB", "A B"]
    assert unfamiliar_texts(mini, [*foreign, "OPEN"]) == foreign
    assert unfamiliar_texts(Path("runs/mine"), ["anything at all"]) == []


def test_what_a_name_means() -> None:
    mine, more = Path("runs/mine"), [Path("up")]
    assert cascade_paths(mine, more) == [mine, *more]
    assert cascade_paths(Path("pretrained:mini"), more) == [Path("pretrained:mini"), *more]
    assert cascade_paths(Path("pretrained:mini/base"), []) == [Path("pretrained:mini/base")]
    assert recommended(mine) == {}
    mini, own = Path("pretrained:mini"), Path("pretrained:mini/upsampler")
    assert {*recommended(mini)} == {*recommended(mini, [own])} == {"base", "upsampler"}
    assert {*recommended(mini, more)} == {*recommended(mini, [own, *more])} == {"base"}
    with pytest.raises(InputError, match=r"there is no pretrained:\.\."):
        bundled_stage("pretrained:../model/base")
    with pytest.raises(InputError, match="has no stage"):
        bundled_stage("pretrained:mini/../base")


def test_a_description_says_what_is_read_and_which_averages_are_there(run: Path, tmp_path: Path) -> None:
    assert describe(run)["averages"] == "0.9, 0.5"
    assert describe(export_weights(run, tmp_path / "out"))["averages"] == "none"
    assert _reads(ModelConfig(text=None, n_classes=9)) == "classes (9)"
    foreign = ModelConfig(text=TextConfig(tokenizer="tokenizer_file", vocab_size=9))
    assert _reads(foreign) == "text (up to 62 tokens of tokenizer_file)"


def test_an_upsampler_of_ones_own_is_sampled_as_documented(tmp_path: Path) -> None:
    """What was found best for the bundled one says nothing of it."""
    theirs, mine = Path("pretrained:mini/upsampler"), bundled_stage("pretrained:mini/upsampler")
    own, bundled = (
        sampling_plan(
            SampleFlags(base=Path("pretrained:mini"), upsampler=[up], txt=["OPEN"], n=1, out=tmp_path), []
        )[1].settings
        for up in (mine, theirs)
    )
    assert own[0] == bundled[0]
    assert own[1] == SamplerSettings(sampler="dpmpp_2m", n_steps=30) != bundled[1]
