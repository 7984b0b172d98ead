"""The training lines of the fork's README, pasted in, on a folder as its users have them."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from catalogs import make_pictures
from fork_reference import ForkNetwork
from PIL import Image
from torch import Tensor, nn

from datatools.build import build_catalog
from datatools.catalog import open_catalog
from datatools.config import BuildSettings
from datatools.export import export_catalog
from datatools.importing import Sources, import_sidecars, read_sources
from txtdiff.cli import main
from txtdiff.config_files import make_config, preset_layer
from txtdiff.data.low_res import make_low_res
from txtdiff.data.tokenizer import encode_texts
from txtdiff.fork import fork_settings
from txtdiff.fork.enlarging import pictures_to_enlarge
from txtdiff.fork.files import read_config_json
from txtdiff.fork.model import model_config
from txtdiff.fork.parse import parse_fork_flags
from txtdiff.fork.sampling import fork_sampling
from txtdiff.fork.table_model import MODEL_FLAGS

MODEL = """--num_res_blocks 2 --num_channels 256 --channels_per_head 64 --num_heads 16
--channel_mult 1,2,2,4,4 --learn_sigma True --attention_resolutions 4,8,16 --use_scale_shift_norm True
--resblock_updown True --monochrome 0 --monochrome_adapter 0 --txt 1 --txt_dim 512 --txt_depth 4
--max_seq_len 384 --txt_rezero 0 --txt_ff_glu 1 --txt_ff_mult 3 --txt_t5 True --char_level True
--weave_attn True --weave_qkv_dim_always_text True --weave_use_ff_gain 1 --weave_ff_rezero False
--weave_ff_glu False --weave_ff_mult 2 --cross_attn_use_layerscale 0 --cross_attn_init_gain 1
--cross_attn_gain_scale 1 --cross_attn_rezero 0 --cross_attn_rezero_keeps_prenorm 1 --txt_avoid_groupnorm 0
--cross_attn_q_t_emb 1 --cross_attn_orth_init 1 --txt_attn_before_attn 0 --cross_attn_channels_per_head 128
--txt_resolutions 8,16,32 --txt_output_layers_only 1 --using_capt 1 --clipname ViT-L/14@336px
--freeze_capt_encoder 1 --glide_style_capt_attn 1 --glide_style_capt_emb 0 --clip_use_penultimate_layer 1"""
DIFFUSION = """--diffusion_steps 1000 --noise_schedule cosine --rescale_learned_sigmas False
--rescale_timesteps False"""
TRAIN = """--use_special_crop_for_empty_string True --use_random_safebox_for_empty_string True
--crop_prob_es 0.95 --crop_prob 0.95 --crop_min_scale 0.44445 --safebox_path safeboxes.jsonl
--px_scales_path px_scales_path.jsonl --flip_lr_prob_es 0.35 --capt_path capts.json --use_fp16 true
--use_amp True --txt_pdrop 0.1 --capt_pdrop 0.1 --all_pdrop 0.1 --ema_rate 0.9999
--arithmetic_avg_from_step 0 --arithmetic_avg_extra_shift 0 --microbatch 36 --perf_no_ddl 1
--perf_pin_memory 1 --perf_prefetch_factor 4 --perf_num_workers 8 --silu_impl fused --cudnn_benchmark 1
--save_first_batch 1 --lr 1e-4 --batch_size 504 --lr_warmup_steps 200 --fp16_scale_growth 2e-3
--config_path logs/config.json --log_interval 10 --verbose 0 --save_interval 2000 --autosave 0"""
REST = shlex.split(f"--data_dir path_to_data/ {MODEL} {DIFFUSION} {TRAIN}")
README = ["--image_size", "64", *REST]
UPSAMPLER = shlex.split("--noise_cond 1 --noise_cond_max_step 600 --antialias true --bicubic_down true")

# The last of a flag given twice counts: the same lines for a machine without a GPU.
SMALL = shlex.split(
    """--num_channels 32 --channels_per_head 32 --num_heads 1 --channel_mult 1,2 --num_res_blocks 1
    --attention_resolutions 8 --txt_dim 64 --txt_depth 1 --max_seq_len 24 --cross_attn_channels_per_head 32
    --txt_resolutions 8 --batch_size 4 --microbatch 2 --perf_num_workers 0 --log_interval 1 --save_interval 2
    --lr_warmup_steps 4 --lr_anneal_steps 4"""
)
# The frozen CLIP is not stored by the fork and cannot be fetched here: a small one by explicit settings.
TOWER = {"width": 32, "layers": 2, "heads": 4, "vocab_size": 49408}
SETTINGS = [
    "--set", "model.captions.weights=random", "--set", "model.captions.tower=custom", "--set",
    "model.captions.size={width = 32, layers = 2, heads = 4}", "--set", "run.grid_pictures=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `datatools export --format fork` makes of pictures with texts, boxes, scales and captions."""
    folder = tmp_path_factory.mktemp("export")
    rows = make_pictures(folder / "made", 10)
    for row in rows:
        Path(row["uri"]).with_suffix(".txt").write_text(row["text"])
    stems = {row["key"].removesuffix(".png"): row for row in rows}
    boxes = {stem: row["safebox"] for stem, row in stems.items() if row["safebox"]}
    (folder / "boxes.json").write_text(json.dumps(boxes))
    (folder / "scales.json").write_text(json.dumps({"001": [1.5, 1.5]}))
    (folder / "captions.json").write_text(json.dumps({stem: row["captions"] for stem, row in stems.items()}))
    sources = Sources(
        safeboxes=folder / "boxes.json",
        px_scales=folder / "scales.json",
        captions=(folder / "captions.json",),
    )
    build_catalog(folder / "made", folder / "c.duckdb", BuildSettings(ocr=(), workers=1))
    with open_catalog(folder / "c.duckdb", "write") as catalog:
        import_sidecars(catalog, read_sources(sources))
    with open_catalog(folder / "c.duckdb") as catalog:
        assert export_catalog(catalog, folder / "fork", "fork").n_written == 10
    return folder / "fork"


@pytest.fixture
def place(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a user of the fork: path_to_data/, sidecars beside it as one object each."""
    shutil.copytree(exported / "images", tmp_path / "path_to_data")
    shutil.copy(exported / "px_scales.jsonl", tmp_path / "px_scales_path.jsonl")
    for name in ("safeboxes.jsonl", "capts.json"):
        shutil.copy(exported / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_LOGDIR", str(tmp_path / "logs"))
    return tmp_path


def run(*words: str) -> int:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["txtdiff", *words])
        main()
    return int(ended.value.code or 0)


def test_the_lines_mean_the_readmes_models(place: Path) -> None:
    config = make_config(fork_settings(README).layer())
    assert (config.data.batch_size, config.optim.microbatch) == (504, 36)
    assert (config.optim.precision, config.optim.warmup_images) == ("fp16", 200 * 504)
    assert config.data.no_text.flip_probability == 0.35
    upsampler = make_config(fork_settings([*REST, *UPSAMPLER]).layer())
    assert upsampler.model.upsampler is not None and upsampler.model.image_size_px == 256
    assert upsampler.diffusion.low_res_noise is not None and upsampler.diffusion.low_res_noise.max_step == 600
    assert upsampler.data.low_res.filter == "antialiased_bicubic"


def test_the_preset_is_the_readmes_but_for_what_it_says(place: Path) -> None:
    """Its places and what the preset's first lines name apart."""
    line, preset = (
        dict(_leaves(make_config(layer).model_dump(mode="json")))
        for layer in (fork_settings(README).layer(), preset_layer("base-64"))
    )
    differ = {name for name in line | preset if line.get(name) != preset.get(name)}
    places = {f"data.{name}" for name in ("folder", "captions", "px_scales", "safeboxes")}
    assert differ - places == {
        "data.square",
        "optim.precision",
        "run.compile",
        "run.matmul_precision",
        "run.images",
        "run.keep_checkpoints",
    }


def _leaves(tree: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield path + name, value


def test_the_base_line_trains_and_goes_on(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["train", *README, *SMALL, *SETTINGS, "--image_size", "16"]
    assert run(*line) == 0
    told = capsys.readouterr().err
    assert "--perf_no_ddl True has no effect" in told and "--use_fp16 True has no effect" in told
    logs = place / "logs"
    assert {path.name for path in logs.glob("step-*")} == {"step-8", "step-16"}
    config = tomllib.loads((logs / "config.toml").read_text())
    assert (config["data"]["crop"]["around"], config["data"]["no_text"]["crop"]) == (
        "safebox",
        "borrowed_safebox",
    )
    assert config["run"]["save_first_batch"] is True and (logs / "first_batch" / "0000.png").exists()
    stored = read_config_json(logs / "config.json").values
    assert (stored["num_channels"], stored["txt_ff_mult"], stored["clipname"]) == (32, 3, "ViT-L/14@336px")
    assert run(*line, "--lr_anneal_steps", "6") == 0
    told = capsys.readouterr().err
    assert "going on from" in told and (logs / "step-24").exists()
    assert "config.json" not in told


def test_a_slip_of_the_pen_in_a_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for slip in (["--num_chanels", "3"], ["--num_chanels=3"]):
        assert run("train", *README, *slip) == 2
        assert "Did you mean 'num_channels'?" in capsys.readouterr().err
    assert not (place / "logs").exists()


def test_the_upsampler_line_trains(place: Path) -> None:
    sizes = ["--large_size", "32", "--small_size", "16"]
    assert run("train", *REST, *UPSAMPLER, *SMALL, *sizes, *SETTINGS) == 0
    assert (place / "logs" / "step-16" / "model.safetensors").exists()
    assert (place / "logs" / "first_batch" / "0000_lowres.png").exists()


def fork_files(folder: Path, flags: list[str], step: int, upsampler: bool) -> dict[str, Tensor]:
    """modelN.pt and ema_0.9999_N.pt of a network with these flags, and config.json."""
    script = "super_res_train" if upsampler else "image_train"
    values = parse_fork_flags(flags, script).values
    reference = ForkNetwork(values, upsampler, TOWER)
    size = int(str(values["large_size" if upsampler else "image_size"]))
    given = {"txt": torch.tensor([[0, 80, 81, 1]]), "capt": torch.ones(1, 77, dtype=torch.long)}
    if upsampler:
        given |= {"low_res": torch.zeros(1, 3, size // 2, size // 2), "cond_timesteps": torch.tensor([0])}
    with torch.no_grad():
        reference.run(torch.zeros(1, 3, size, size), torch.tensor([5]), **given)
    folder.mkdir(exist_ok=True)
    state = {key: nn.Parameter(t) for key, t in reference.state.items() if not key.startswith("clipmod.")}
    torch.save(state, folder / f"model{step:06}.pt")
    torch.save({key: 0.5 * t for key, t in state.items()}, folder / f"ema_0.9999_{step:06}.pt")
    names = ("max_seq_len", "char_level")
    given_flags = {word.removeprefix("--") for word in flags if word.startswith("--")}
    stored = {flag.name for flag in MODEL_FLAGS} | {
        word[2:] for word in DIFFUSION.split() if word[:2] == "--"
    }
    config = {name: values[name] for name in given_flags & stored if name not in names}
    tokenizer = {name: values[name] for name in names}
    (folder / "config.json").write_text(
        json.dumps({"is_super_res": upsampler, "tokenizer_config": tokenizer, "clipmod": None, **config})
    )
    return {key: weight.detach() for key, weight in state.items()}


def test_a_run_of_the_fork_goes_on(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--resume_checkpoint modelN.pt: weights, averages, optimiser, step count and learning rate go on."""
    without_captions = ["--using_capt", "0"]
    flags = [*README[:2], *REST[2:], *SMALL, "--image_size", "16", *without_captions]
    state = fork_files(place / "old", flags, 2, upsampler=False)
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(2))])
    torch.save(optimizer.state_dict(), place / "old" / "opt000002.pt")
    resume = [
        "--resume_checkpoint",
        "old/model000002.pt",
        "--save_interval",
        "1",
        "--set",
        "run.grid_pictures=0",
    ]
    assert run("train", *README, *SMALL, "--image_size", "16", *without_captions, *resume) == 0
    assert "opt000002.pt is not taken over" in capsys.readouterr().err
    logs = place / "logs"
    # Its step 2 is its third: 12 pictures; a fourth step is left of --lr_anneal_steps 4.
    assert {path.name for path in logs.glob("step-*")} == {"step-12", "step-16"}
    before = safetensors.torch.load_file(logs / "step-12" / "average-0.9999.safetensors")
    after = safetensors.torch.load_file(logs / "step-16" / "average-0.9999.safetensors")
    weights = safetensors.torch.load_file(logs / "step-16" / "model.safetensors")
    assert torch.equal(before["head.bias"], 0.5 * state["out.2.bias"])
    # Four weights are in the average of step 2 (the start and three steps): the next has a share of a fifth.
    expected = before["head.bias"] + (weights["head.bias"] - before["head.bias"]) / 5
    assert torch.allclose(after["head.bias"], expected, atol=1e-7)
    assert json.loads((logs / "metrics.jsonl").read_text().splitlines()[0])["images"] == 16


def test_sampling_lines_from_base_to_upsampler(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """image_sample writes an .npz with token ids, super_res_sample enlarges it."""
    small = [*SMALL[: SMALL.index("--batch_size")], "--using_capt", "0"]
    model = shlex.split(f"{MODEL} {DIFFUSION} --silu_impl fused")
    base = [*model, *small, "--image_size", "16"]
    fork_files(place / "b", base, 1, upsampler=False)
    sampling = [
        "--num_samples",
        "3",
        "--batch_size",
        "2",
        "--seed",
        "5",
        "--timestep_respacing",
        "4",
        "--npz",
    ]
    first = ["--model_path", "b/ema_0.9999_000001.pt", "--text_input", "hi\nyou", *sampling, "--out", "base"]
    assert run("sample", *base, *first) == 0
    npz = np.load(place / "base" / "samples_3x16x16x3.npz")
    assert np.array_equal(npz["arr_1"], encode_texts(["hi\nyou"] * 3, 24).numpy())
    large = [
        *model,
        *small,
        "--txt_resolutions",
        "16",
        "--large_size",
        "32",
        "--small_size",
        "16",
        "--noise_cond",
        "1",
    ]
    fork_files(place / "u", large, 1, upsampler=True)
    line = ["sample", *large, "--model_path", "u/model000001.pt", *sampling]
    assert run(*line, "--base_samples", "base/samples_3x16x16x3.npz", "--out", "up") == 0
    enlarged = np.load(place / "up" / "samples_3x32x32x3.npz")
    assert np.array_equal(enlarged["arr_1"], npz["arr_1"])
    prompts = [json.loads(one) for one in (place / "up" / "prompts.jsonl").read_text().splitlines()]
    assert [one["txt"] for one in prompts] == ["hi\nyou"] * 3
    # The same small picture, text and noise give the same large one, whatever stands beside it.
    np.savez(place / "one.npz", npz["arr_0"][:1], npz["arr_1"][:1])
    assert run(*line, "--base_samples", "one.npz", "--num_samples", "1", "--out", "again") == 0
    again, whole = (np.asarray(Image.open(place / at / "00000.png")).astype(int) for at in ("again", "up"))
    assert np.abs(again - whole).max() <= 1
    assert run(*line, "--base_data_dir", "path_to_data", "--base_data_offset", "7", "--out", "true") == 0
    texts = [json.loads(one)["txt"] for one in (place / "true" / "prompts.jsonl").read_text().splitlines()]
    assert texts == [path.read_text() for path in sorted((place / "path_to_data").glob("*.txt"))[7:]]
    np.savez(place / "wrong.npz", np.zeros((1, 8, 8, 3), np.uint8))
    (place / "text.npz").write_text("no archive")
    shutil.copytree(place / "path_to_data", place / "spoilt")
    whole_file = (place / "spoilt" / "000.png").read_bytes()
    (place / "spoilt" / "000.png").write_bytes(whole_file[: len(whole_file) * 2 // 3])
    for words, message in [
        ("", "nothing to enlarge"),
        (
            "--base_samples wrong.npz",
            "takes pictures of 3 x 16 x 16 (channels, height, width), not 3 x 8 x 8",
        ),
        ("--base_samples text.npz", "cannot be read as .npz"),
        ("--base_data_dir path_to_data --base_data_offset 99", "has 10 usable pictures"),
        ("--base_data_dir path_to_data --base_data_offset -2", "has 10 usable pictures"),
        ("--base_data_dir path_to_data --num_samples -5", "--num_samples -5 --batch_size 2: no pictures"),
        (
            "--base_data_dir path_to_data --blur_prob 1 --blur_sigma_min -1",
            "data.low_res.blur_sigma_min_px: ",
        ),
        ("--base_samples one.npz --noise_schedule foo", "diffusion.noise_schedule: "),
        (
            "--base_samples one.npz --guidance_scale nan --clf_free_guidance 1",
            "--guidance_scale nan is no number",
        ),
        ("--base_data_dir spoilt", "spoilt/000.png cannot be enlarged: truncated"),
    ]:
        capsys.readouterr()
        assert run(*line, *words.split(), "--out", "no") == 2
        assert message in capsys.readouterr().err.replace("\n", " ")


def test_true_pictures_are_made_small_few_at_a_time(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "--model_path m.pt --large_size 32 --small_size 16 --base_data_dir path_to_data --blur_prob 0.5"
    asked = fork_sampling([*line.split(), "--seed", "3"])
    config = model_config(asked.flags)
    at_a_time: list[int] = []

    def listening(pictures: Tensor, *args: Any, **options: Any) -> Tensor:
        at_a_time.append(len(pictures))
        return make_low_res(pictures, *args, **options)

    monkeypatch.setattr("txtdiff.fork.enlarging.make_low_res", listening)
    small, prompts = pictures_to_enlarge(asked, config, seed=3)
    assert small.shape == (10, 3, 16, 16)
    assert len(prompts) == 10
    monkeypatch.setattr("txtdiff.fork.enlarging._BATCH", 4)
    assert torch.equal(pictures_to_enlarge(asked, config, seed=3)[0], small)
    assert at_a_time == [10, 4, 4, 2]
