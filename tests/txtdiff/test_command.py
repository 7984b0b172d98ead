"""The command line as a user has it: from a catalog to pictures, and what it says when something is wrong."""

from __future__ import annotations

import json
import re
import sys
import tomllib
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from PIL import Image
from tiny import TINY, tiny_catalog

import txtdiff.fork.settings
from datatools.errors import InputError
from txtdiff.cascade import Cascade, Prompt, SampledPictures, load_cascade
from txtdiff.cli import main
from txtdiff.config_files import make_config, settings_layer
from txtdiff.sample_files import SamplingPlan, make_prompts, sample_to_folder
from txtdiff.sample_options import unescape
from txtdiff.sampler_settings import SamplerSettings
from txtdiff.train_options import TrainFlags, run_config, training_plan
from txtdiff.training.checkpoint import find_checkpoint
from txtdiff.training.distributed import pick_device
from txtdiff.training.trainer import train

Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)

    def run(*args: object) -> int:
        monkeypatch.setattr(sys, "argv", ["txtdiff", *map(str, args)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    return run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    tiny_catalog(folder)
    (folder / "tiny.toml").write_text(tomli_w.dumps(TINY))
    return folder


def test_train_then_sample(run: Run, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalog = data / "catalog.duckdb"
    train = ("train", data / "tiny.toml", "--catalog", catalog, "--images", "8")
    assert run(*train, "--out", "base") == 0
    assert run(*train, "--out", "base") == 0
    assert "was trained before on 8 images" in capsys.readouterr().err
    sizes = ("--set", "model.image_size_px=32", "--set", "model.attention.resolutions_px=[16]",
             "--set", "model.text.attention.resolutions_px=[16]")  # fmt: skip
    assert run(*train, "--out", "up", *sizes, "--set", "model.upsampler.small_size_px=16") == 0
    stages = ("--base", "base", "--upsampler", "up")
    asked = ("--txt", r"I can\nwrite", "--n", "3", "--sampler", "ddim:3", "--guidance", "2", "--seed", "5")
    assert run("sample", *stages, *asked, "--out", "pictures", "--npz") == 0
    out = tmp_path / "pictures"
    names = {path.name for path in out.iterdir()}
    assert names == {
        *(f"0000{i}.png" for i in range(3)),
        "grid.png",
        "prompts.jsonl",
        "samples_3x32x32x3.npz",
    }
    picture = Image.open(out / "00001.png")
    facts = json.loads(picture.text["txtdiff"])
    assert picture.size == (32, 32)
    assert (facts["txt"], facts["seed"], len(facts["stages"])) == ("I can\nwrite", 6, 2)
    assert facts["stages"][0]["guidance_txt"] == 2 and "guidance_txt" not in facts["stages"][1]
    assert [json.loads(line)["seed"] for line in (out / "prompts.jsonl").read_text().splitlines()] == [
        5,
        6,
        7,
    ]
    first = {path.name: path.read_bytes() for path in out.glob("*.png")}
    assert run("sample", *stages, *asked, "--out", "again") == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").glob("*.png")} == first
    pixels = {}
    for name, options in {
        "exact": ("--exact",),
        "alone": ("--n", "1", "--exact"),
        "raw": ("--weights", "raw"),
    }.items():
        assert run("sample", *stages, *asked, *options, "--out", name) == 0
        pixels[name] = np.asarray(Image.open(tmp_path / name / "00000.png")).astype(int)
    assert (pixels["exact"] == pixels["alone"]).all() and (pixels["raw"] != pixels["exact"]).any()
    capsys.readouterr()
    assert run("nll", "--model", "base", "--catalog", catalog, "--n", 2, "--steps", 3) == 0
    assert re.match(
        r"\d+\.\d{4} ± .* bits per dimension \(2 pictures, 3 timesteps\)", capsys.readouterr().out
    )
    assert run("info", "up") == 0
    assert "upsampler, 16 -> 32 px" in capsys.readouterr().out


def test_a_weaker_model_leads_the_base_away(
    run: Run, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, out in enumerate(("base", "weak")):
        train = ("train", data / "tiny.toml", "--catalog", data / "catalog.duckdb", "--images", "8")
        assert run(*train, "--out", out, "--set", f"run.seed={seed}") == 0
    asked = ("sample", "--base", "base", "--txt", "a", "--n", "1", "--sampler", "ddim:2")
    weaker = ("--weaker", "weak", "--set", "base.autoguidance=3")
    assert run(*asked, "--out", "plain") == run(*asked, *weaker, "--out", "led") == 0
    plain, led = (np.asarray(Image.open(tmp_path / out / "00000.png")) for out in ("plain", "led"))
    assert (plain != led).any()
    assert run(*asked, "--weaker", "weak", "--out", "idle") == 2
    assert "--weaker has no effect" in capsys.readouterr().err
    assert run(*train, "--out", "other", "--set", "diffusion.n_steps=500") == 0
    assert run(*asked, "--weaker", "other", *weaker[2:], "--out", "wrong") == 2
    refused = " ".join(capsys.readouterr().err.split())
    assert "other cannot lead the base away: its diffusion.n_steps is 500, the base's 1000" in refused


def test_only_pictures_of_ours_are_replaced(
    run: Run, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ("train", data / "tiny.toml", "--catalog", data / "catalog.duckdb", "--images", "4")
    assert run(*train, "--out", "base") == 0
    sample = ("sample", "--base", "base", "--txt", "a", "--sampler", "ddim:2", "--out", "out", "--n")
    out = tmp_path / "out"
    assert run(*sample, 3) == 0
    foreign = Image.new("RGB", (4, 4))
    foreign.save(out / "00007.png")
    assert run(*sample, 2) == 0
    assert {path.name for path in out.glob("*.png")} == {"00000.png", "00001.png", "00007.png", "grid.png"}
    assert len((out / "prompts.jsonl").read_text().splitlines()) == 2
    for name, content in (("00001.png", b"no picture"), ("grid.png", (out / "00007.png").read_bytes())):
        kept = (out / name).read_bytes()
        (out / name).write_bytes(content)
        assert run(*sample, 2) == 2
        assert f"out/{name} would be overwritten" in capsys.readouterr().err.replace("\n", " ")
        assert (out / name).read_bytes() == content
        (out / name).write_bytes(kept)


def faked(n_batches: int, stops: bool = False) -> Callable[..., Iterator[SampledPictures]]:
    """In place of `sample_pictures`: batches of two black pictures, of which few may be held at a time."""

    def sample(_cascade: Cascade, prompts: Sequence[Prompt], *_: object, **__: object) -> Any:
        seen: list[weakref.ref[Any]] = []
        for i in range(n_batches):
            pictures = np.zeros((2, 4, 4, 3), np.uint8)
            seen.append(weakref.ref(pictures))
            yield SampledPictures(tuple(prompts[2 * i : 2 * i + 2]), pictures, pictures, 1, 0.1)
            del pictures
            assert sum(batch() is not None for batch in seen) <= 4
        if stops:
            raise KeyboardInterrupt

    return sample


@pytest.fixture
def small_cascade(trained: Path) -> Cascade:
    return load_cascade([trained / "texts"])


def sampling(out: Path, txt: str, n: int) -> SamplingPlan:
    return SamplingPlan(
        prompts=make_prompts([txt], None, n, 0), settings=[SamplerSettings()], out=out, batch_size=2
    )


def test_an_interrupted_run_leaves_no_prompts_of_the_run_before(
    small_cascade: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("txtdiff.sample_files.sample_pictures", faked(1))
    sample_to_folder(small_cascade, sampling(tmp_path, "OLD", 2))
    assert {path.name for path in tmp_path.iterdir()} == {
        "00000.png",
        "00001.png",
        "grid.png",
        "prompts.jsonl",
    }
    monkeypatch.setattr("txtdiff.sample_files.sample_pictures", faked(1, stops=True))
    with pytest.raises(KeyboardInterrupt):
        sample_to_folder(small_cascade, sampling(tmp_path, "NEW", 4))
    assert {path.name for path in tmp_path.iterdir()} == {"00000.png", "00001.png"}
    with Image.open(tmp_path / "00000.png") as picture:
        assert json.loads(picture.text["txtdiff"])["txt"] == "NEW"


def test_arrays_of_the_run_before_stay(
    small_cascade: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fork's users enlarge them in the folder that they lie in."""
    monkeypatch.setattr("txtdiff.sample_files.sample_pictures", faked(1))
    sample_to_folder(small_cascade, replace(sampling(tmp_path, "OLD", 2), npz=True))
    sample_to_folder(small_cascade, sampling(tmp_path, "NEW", 4))
    assert [path.name for path in tmp_path.glob("*.npz")] == ["samples_2x4x4x3.npz"]


def test_no_more_pictures_are_held_than_the_grid_shows(
    small_cascade: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("txtdiff.sample_files._MAX_GRID", 5)
    monkeypatch.setattr("txtdiff.sample_files.sample_pictures", faked(8))
    sample_to_folder(small_cascade, sampling(tmp_path, "a", 16))
    assert len((tmp_path / "prompts.jsonl").read_text().splitlines()) == 16
    with Image.open(tmp_path / "grid.png") as grid:
        assert json.loads(grid.text["txtdiff"]) == {"pictures": 5}


def test_pictures_from_a_fork_line(run: Run, data: Path, tmp_path: Path) -> None:
    """A short training line of the parent project, its .txt files beside the pictures."""
    source = data / "pictures"
    for i, path in enumerate(sorted(source.glob("*.png"))):
        path.with_suffix(".txt").write_text("" if i % 5 == 4 else "abc")
    line = (
        "--data_dir", source, "--image_size", 16, "--num_channels", 32, "--num_res_blocks", 1,
        "--num_heads", 1, "--channel_mult", "1,1", "--attention_resolutions", 8, "--learn_sigma", "True",
        "--txt", "True",
        "--txt_dim", 64, "--txt_depth", 1, "--max_seq_len", 12,
        "--txt_resolutions", 8, "--char_level", "True",
        "--cross_attn_q_t_emb", "True", "--batch_size", 4, "--lr_anneal_steps", 2, "--log_interval", 1,
        "--diffusion_steps", 100, "--txt_pdrop", 0.2, "--autosave", 0, "--perf_no_ddl", 1,
    )  # fmt: skip
    assert run("train", *line, "--out", "run", "--set", "run.grid_pictures=0") == 0
    config = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert config["run"]["images"] == 8 and config["diffusion"]["parameterisation"] == "eps"
    assert (tmp_path / "run" / "step-8" / "model.safetensors").exists()


def test_the_flags_of_a_fork_line_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their config.json too, which is written when the run begins and not before."""
    described = tmp_path / "config.json"
    line = ["--data_dir", "pictures", "--image_size", "64", "--config_path", str(described)]
    plan = training_plan(TrainFlags(out=tmp_path / "run", images=None), None, line)
    assert plan.settings.model.image_size_px == 64 and not described.exists()
    monkeypatch.delattr(txtdiff.fork.settings, "fork_settings")
    plan.begin()
    assert json.loads(described.read_text())["image_size"] == 64
    training_plan(TrainFlags(out=tmp_path / "run", preset="mini-base", images=None), None, []).begin()


def test_paths_hold_in_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def recorded(init: str) -> str:
        flags = TrainFlags(preset="mini-base", init=Path(init), catalog=Path("~/c.duckdb"), images=None)
        settings = run_config(flags, None, [])
        assert settings.data.catalog == tmp_path / "home" / "c.duckdb"
        return str(settings.run.init)

    assert recorded("base/step-8") == str(tmp_path / "base" / "step-8")
    assert recorded("~/base") == str(tmp_path / "home" / "base")
    assert recorded("pretrained:mini") == "pretrained:mini"
    assert recorded("s3://bucket/run") == "s3:/bucket/run"  # as a Path has it
    resume = ["--data_dir", "~/x", "--image_size", "64", "--resume_checkpoint", "old/model000002.pt"]
    settings = run_config(TrainFlags(images=None), None, resume)
    assert settings.data.folder == tmp_path / "home" / "x"
    (tmp_path / "home" / "run").mkdir(parents=True)
    (tmp_path / "home" / "my.toml").write_text("[run]\nimages = 3\n")
    assert run_config(TrainFlags(images=None), Path("~/my.toml"), []).run.images == 3
    with pytest.raises(InputError, match="run holds no valid checkpoint"):
        find_checkpoint(Path("~/run"))
    assert settings.run.init == tmp_path / "old" / "model000002.pt"


def test_several_processes_are_told_one_run_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would take its own time for the name of one."""
    for name in ("OPENAI_LOGDIR", "DIFFUSION_BLOB_LOGDIR"):
        monkeypatch.delenv(name, raising=False)
    flags = TrainFlags(preset="mini-base", images=None)
    assert training_plan(flags, None, []).out.parent == Path("runs")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert training_plan(flags, None, []).out.parent == Path("runs")  # torchrun gives a rank too
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(InputError, match="several processes") as refused:
        training_plan(flags, None, [])
    assert refused.value.remedy == "Give --out."
    assert training_plan(replace(flags, out=tmp_path), None, []).out == tmp_path


def test_a_whole_checkpoint_is_not_written_over(
    run: Run, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By itself, which has the same count: without optimiser and averages nothing could go on from it."""
    train = ("train", data / "tiny.toml", "--catalog", data / "catalog.duckdb", "--out", "run", "--images")
    lengths = ("--set", "averaging.lengths=0.1", "--set", "averaging.snapshot_every_images=4")
    assert run(*train, 8, *lengths) == 0
    for line in ("export run --out run", "convert run --ema-length 0.1 --out run"):
        assert run(*line.split()) == 2
        told = " ".join(capsys.readouterr().err.split())
        assert "run/step-8 is there already, and whole Choose another --out." in told
        assert run(*line.split("--out")[0].split(), "--out", line.split()[0]) == 0
    assert run(*train, 12, *lengths) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train --preset mini-bse --out x", "Did you mean 'mini-base'?"),
        ("train --preset mini-base --out x", "how long to train"),
        ("train --preset mini-base --out x --images 8", "no pictures to train on"),
        ("train --preset mini-base --out x --images 8 --catalog none.duckdb", "there is no catalog"),
        ("train none.toml --out x", "there is no file none.toml"),
        ("train --preset mini-base --out x --set optim.lrr=1", "Did you mean 'lr'?"),
        ("train --preset mini-base --frobnicate", "No such option"),
        ("train --preset mini-base --data_dir x", "Use one or the other"),
        ("train --stage base --preset mini-base", "--stage has no effect"),
        ("train --data_dir x --bread_lr 1", "refused"),
        ("sample --base nowhere --txt a --out x", "there is no directory nowhere"),
        ("sample --base . --txt a --out x", "holds no valid checkpoint"),
        ("sample --base . --out x", "no text to write"),
        ("sample --out x --model_path a.pt --large_size 32", "a.pt cannot be read as weights"),
        ("sample --out x --text_input a", "--model_path is missing"),
        ("sample --base . --txt a --n 0 --out x", "no pictures are asked for"),
        ("sample --base . --txt a --device gpu --out x", "device 'gpu' is unknown"),
        ("sample --base pretrained:mino --txt a --out x", "there is no pretrained:mino"),
        ("nll --model . --catalog none.duckdb --n 0", "no pictures are asked for"),
        ("nll --model . --catalog none.duckdb --device cuda:x", "device 'cuda:x' is unknown"),
        ("info pretrained:mini/top", "pretrained:mini has no stage 'top'"),
        ("config --set model.depht=1", "unknown setting"),
        (
            "config --set model.channels=32 --set model.image_size_px=16 --set model.channel_mult=1,1",
            "attention.channels_per_head = 64 is larger than the 32 channels",
        ),
    ],
)
def test_errors_are_one_message(
    run: Run, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    assert run(*line.split()) == 2
    told = capsys.readouterr().err
    assert message in told.replace("\n", " ")
    assert "Traceback" not in told


@pytest.mark.parametrize(("n_gpus", "device", "refusal"), [
    (0, "cuda", "finds no GPU"),
    (0, "cuda:0", "finds no GPU"),
    (2, "cuda:2", "there are 2 GPUs"),
    (2, "cuda", None),
    (2, "cuda:1", None),
    (2, "cpu", None),
])  # fmt: skip
def test_devices(monkeypatch: pytest.MonkeyPatch, n_gpus: int, device: str, refusal: str | None) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: n_gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)
    assert pick_device("auto") == ("cuda" if n_gpus else "cpu")
    if refusal is None:
        assert pick_device(device) == device
        return
    with pytest.raises(InputError, match=refusal):
        pick_device(device)


def test_config_prints_what_train_takes(run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("config", "--preset", "mini-upsampler", "--set", "optim.lr=0.5") == 0
    printed = capsys.readouterr().out
    (tmp_path / "printed.toml").write_text(printed)
    assert tomllib.loads(printed)["optim"]["lr"] == 0.5
    assert "# Learning rate." in printed
    assert run("config", "printed.toml") == 0
    assert capsys.readouterr().out == printed


def test_config_prints_what_a_stage_of_sample_takes(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("config", "--sampler") == 0
    printed = capsys.readouterr().out
    assert SamplerSettings(**tomllib.loads(printed)) == SamplerSettings()
    for name, field in SamplerSettings.model_fields.items():
        assert f"\n{name} = " in f"\n{printed}" or f'\n#{name} = "none"' in printed
        assert field.description
        assert field.description.split()[0] in printed
    assert run("config", "--sampler", "--preset", "mini-base") == 2
    assert "Give it alone." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (r"a\nb", "a\nb"),
        (r"a\\nb", r"a\nb"),
        (r"C:\dir", r"C:\dir"),
        ("\\", "\\"),
        (r"\\", "\\"),
        (r"\\\n", "\\\n"),
    ],
)
def test_escapes(typed: str, meant: str) -> None:
    assert unescape(typed) == meant


@pytest.fixture(scope="module")
def trained(data: Path) -> Path:
    """Three runs of one step: a model of texts, one of nothing, one of classes."""
    for name, changes in {
        "texts": (),
        "nothing": ("model.text=none", "data.drop_txt=0"),
        "classes": ("model.text=none", "data.drop_txt=0", "model.n_classes=12", "data.class_name=key"),
    }.items():
        common = (f"data.catalog={data / 'catalog.duckdb'}", "run.images=4")
        train(make_config(TINY, settings_layer([*common, *changes])), data / name)
    return data


@pytest.mark.parametrize(
    ("base", "options", "said"),
    [
        ("texts", "--txt hi --capt sky", "--capt has no effect: no stage reads captions"),
        ("texts", "--txt hi --guidance-capt 2", "--guidance-capt has no effect: {} reads no captions"),
        ("nothing", "--txt hi", "--txt has no effect: no stage reads text"),
        ("nothing", "--txt= --guidance 2", "--guidance has no effect: {} reads no text, captions or classes"),
        ("nothing", "--txt= --class 1", "--class has no effect: no stage knows classes"),
        ("nothing", "--txt= --capt=", None),
        ("classes", "--txt= --class 1 --guidance 2", None),
    ],
)
def test_what_no_stage_reads_is_refused(
    run: Run, trained: Path, capsys: pytest.CaptureFixture[str], base: str, options: str, said: str | None
) -> None:
    line = ("sample", "--base", trained / base, *options.split(), "--sampler", "ddim:2", "--out", "pictures")
    assert run(*line, "--n", 1) == (0 if said is None else 2)
    told = " ".join(capsys.readouterr().err.split())
    assert said is None or said.format(trained / base) in told
    if base == "classes":
        with Image.open("pictures/00000.png") as picture:
            assert json.loads(picture.text["txtdiff"])["stages"][0]["guidance_txt"] == 2


def test_weights_of_another_network_are_told_in_a_few_lines(
    run: Run, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ("train", trained / "tiny.toml", "--catalog", trained / "catalog.duckdb", "--images", 4)
    changed = ("--set", "model.channels=64", "--set", "model.attention.heads=2")
    assert run(*line, *changed, "--init", trained / "texts", "--out", "other") == 2
    told = capsys.readouterr().err
    assert re.search(r"run.init: .*texts is another network: \d+ of \d+ tensors\s+differ", told)
    assert told.count(" there, ") == 3 and "\n  … and " in told
    assert "\n  time_embedding.0.weight: [128, 32] there, [256, 64] here\n" in told
    assert "Give --init without preset and settings file" in " ".join(told.split())
    assert len(told.splitlines()) < 15
    without = ("--set", "model.text=none", "--set", "data.drop_txt=0", "--set", "optim.warmup_images=0")
    assert run(*line, *without, "--init", trained / "texts", "--out", "other") == 2
    assert "there, none here" in capsys.readouterr().err
