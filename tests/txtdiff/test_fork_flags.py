"""The fork's command lines: every flag known, its meaning and default kept, its combinations understood."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from datatools.errors import InputError
from txtdiff.cli import main
from txtdiff.config import RunConfig
from txtdiff.config_files import make_config, settings_layer
from txtdiff.fork import fork_settings, split_words
from txtdiff.fork.files import read_config_json
from txtdiff.fork.flags import NoEffect, Only, To
from txtdiff.fork.parse import FLAGS, parse_fork_flags, script_of
from txtdiff.fork.plan import fork_plan
from txtdiff.fork.sampling import fork_sampling
from txtdiff.fork.training import NO_END_IMAGES
from txtdiff.sample_options import SampleFlags
from txtdiff.train_options import TrainFlags

README_BASE = """
--lr 1e-4 --lr_warmup_steps 1000 --batch_size 64 --microbatch 16 --ema_rate 0.9999,0.999 --log_interval
20 --save_interval 5000 --use_fp16 0 --fp16_scale_growth 2e-3 --channel_mult 1,2,2,4,4 --txt True
--txt_dim 512 --txt_depth 6 --max_seq_len 384 --txt_resolutions 8,16,32 --verbose 1 --char_level True
--txt_pdrop 0.1 --use_amp True --autosave 0 --arithmetic_avg_from_step 0,0 --arithmetic_avg_extra_shift
0,0 --crop_prob 0.95 --crop_min_scale 0.44445 --use_special_crop_for_empty_string True --crop_prob_es
0.95 --use_random_safebox_for_empty_string True --flip_lr_prob_es 0.5 --save_first_batch 1 --perf_no_ddl
1 --perf_pin_memory 1 --perf_prefetch_factor 4 --perf_num_workers 2 --capt_pdrop 0.1 --all_pdrop 0.1
--freeze_capt_encoder 1 --cudnn_benchmark 1 --image_size 64 --num_channels 256 --num_res_blocks 2
--num_heads 16 --attention_resolutions 4,8,16 --learn_sigma True --diffusion_steps 1000 --noise_schedule
cosine --rescale_timesteps False --rescale_learned_sigmas False --resblock_updown True
--use_scale_shift_norm True --channels_per_head 64 --cross_attn_channels_per_head 128
--cross_attn_init_gain 1 --cross_attn_gain_scale 1 --txt_output_layers_only 1 --monochrome 0
--monochrome_adapter 0 --txt_attn_before_attn 0 --txt_avoid_groupnorm 0 --cross_attn_orth_init 1
--cross_attn_q_t_emb 1 --txt_rezero 0 --cross_attn_rezero 0 --cross_attn_rezero_keeps_prenorm 1
--cross_attn_use_layerscale 0 --txt_t5 True --weave_attn True --weave_ff_rezero False --weave_ff_mult 2
--weave_ff_glu 1 --weave_qkv_dim_always_text True --txt_ff_glu 1 --txt_ff_mult 3 --weave_use_ff_gain 1
--silu_impl fused --using_capt 1 --glide_style_capt_attn 1 --glide_style_capt_emb 0 --clipname
ViT-L/14@336px --clip_use_penultimate_layer 1
"""


def base_line(folder: Path, extra: str = "") -> list[str]:
    files = {"safebox_path": "safe.json", "px_scales_path": "px.json", "capt_path": "capt.json"}
    for name in files.values():
        (folder / name).write_text("{}")
    paths = " ".join(f"--{flag} {folder / name}" for flag, name in files.items())
    return f"--data_dir {folder} {paths} {README_BASE} {extra}".split()


def settings(folder: Path, extra: str = "") -> RunConfig:
    return make_config(fork_settings(base_line(folder, extra)).layer())


def test_the_table_holds_every_flag_of_the_four_scripts_once() -> None:
    assert len({flag.name for flag in FLAGS}) == 194
    rows = [(flag.name, script) for flag in FLAGS for script in flag.scripts]
    assert len(rows) == len(set(rows))
    assert all(flag.default is None or type(flag.default) is flag.type for flag in FLAGS)


def test_paths_that_flags_go_to_are_settings() -> None:
    tree = RunConfig().model_dump()
    for flag in FLAGS:
        if isinstance(flag.becomes, To):
            group, name = flag.becomes.path.split(".")
            assert name in tree[group], flag.name


def test_a_line_of_the_readme_becomes_a_run(tmp_path: Path) -> None:
    config = settings(tmp_path)
    model = config.model
    assert (model.channels, model.channel_mult, model.image_size_px) == (256, (1, 2, 2, 4, 4), 64)
    assert model.norm_groups == "second_norm_32"
    assert model.text is not None and model.text.attention.modulated_norm == "groups_32_silu"
    assert model.text.attention.heads == 4
    assert model.captions is not None and model.captions.tower == "ViT-L-14-336-quickgelu"
    assert model.captions.join == ("self_attention",)
    assert config.data.batch_size == 64
    assert config.data.no_text.crop == "borrowed_safebox"
    assert config.data.crop.min_area == 0.44445
    assert config.optim.warmup_images == 64_000
    assert (config.optim.precision, config.optim.loss_scale_growth_steps) == ("fp16", 500)
    assert config.averaging.rates == (0.9999, 0.999)
    assert config.averaging.start == "arithmetic"
    assert config.run.save_every_images == 320_000
    assert config.run.images == NO_END_IMAGES


def test_flags_without_effect_are_told_with_the_reason(tmp_path: Path) -> None:
    notes = "\n".join(fork_settings(base_line(tmp_path, "--use_fp16 1")).notes)
    assert "--crop_prob_es 0.95 has no effect: random safeboxes are on" in notes
    assert "--use_fp16 True has no effect: use_amp is 1" in notes
    assert "--perf_no_ddl True has no effect" in notes
    without = fork_settings(["--data_dir", str(tmp_path), "--clipname", "ViT-B/32", "--txt", "0"])
    assert without.notes == ["--clipname ViT-B/32 has no effect: using_capt is 0"]


def test_defaults_are_those_of_the_fork(tmp_path: Path) -> None:
    config = make_config(fork_settings(["--data_dir", str(tmp_path)]).layer())
    assert (config.diffusion.noise_schedule, config.diffusion.rescale_timesteps) == ("linear", True)
    assert config.diffusion.variance == "fixed_large"
    assert config.model.channel_mult == (1, 2, 3, 4)
    assert (config.model.resample, config.model.text) == ("conv", None)
    assert config.averaging.start == "exponential"


def test_classes(tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text('{"cat": 3}')
    data = settings(
        tmp_path, f"--class_cond 1 --class_map_path {tmp_path / 'map.json'} --class_ix_unk 5"
    ).data
    assert (data.class_map, data.class_unknown, data.drop_class) == (tmp_path / "map.json", 5, 0.1)
    notes = fork_settings(base_line(tmp_path, "--class_pdrop 0.5")).notes
    assert "--class_pdrop 0.5 has no effect: class_cond is 0" in notes


def test_upsampler_line(tmp_path: Path) -> None:
    line = (
        f"--data_dir {tmp_path} --large_size 128 --small_size 64 --channel_mult 1,1,2 --noise_cond 1 "
        "--noise_cond_max_step 300 --antialias 1 --bicubic_down 1 --learn_sigma 1 --autosave 0"
    )
    result = fork_settings(line.split())
    config = make_config(result.layer())
    assert result.upsampler
    assert config.model.upsampler is not None and config.model.upsampler.noise_conditioning
    assert config.data.low_res.filter == "antialiased_bicubic"
    assert config.diffusion.low_res_noise is not None and config.diffusion.low_res_noise.max_step == 300


@pytest.mark.parametrize(
    ("extra", "loss", "weight"),
    [
        ("", "mse", 1.0),
        ("--rescale_learned_sigmas 1 --diffusion_steps 500", "mse", 0.5),
        ("--use_v_loss 1 --rescale_learned_sigmas 1 --diffusion_steps 500", "v", 1.0),
        ("--use_v_loss 1 --use_snr_plus_one_loss 1", "snr_plus_one", 1.0),
        ("--use_balanced_loss 1 --use_kl 1", "balanced", 1.0),
        ("--use_kl 1", "kl", 1.0),
    ],
)
def test_losses(tmp_path: Path, extra: str, loss: str, weight: float) -> None:
    diffusion = settings(tmp_path, extra).diffusion
    assert (diffusion.loss, diffusion.vb_weight) == (loss, weight)


def test_argparse_semantics() -> None:
    flags = parse_fork_flags(
        ["--txt", "y", "--txt", "NO", "--num_chan", "64", "--lr=3e-5", "--text_lr", "-1"], "image_train"
    )
    assert flags.values["txt"] is False
    assert flags.values["num_channels"] == 64
    assert flags.values["lr"] == 3e-5
    for wrong in ("--txt", "--txt maybe", "--weave_ff_mult 2.5", "--num 3", "--nonsense 1", "word"):
        with pytest.raises(InputError):
            parse_fork_flags(wrong.split(), "image_train")


def test_a_flag_of_the_other_script_is_named_as_such() -> None:
    with pytest.raises(
        InputError, match="flag of the fork's image_sample, image_train, not of super_res_train"
    ):
        parse_fork_flags(["--image_size", "64"], "super_res_train")


def test_upsampler_is_told_by_its_flags() -> None:
    assert script_of(["--image_size", "64"], "train") == "image_train"
    assert script_of(["--noise_cond", "0"], "train") == "super_res_train"
    assert script_of(["--large=256"], "train") == "super_res_train"
    assert script_of(["--txt", "1"], "train", stage="upsampler") == "super_res_train"
    assert script_of(["--small_size", "64"], "sample") == "super_res_sample"


REFUSED = [flag for flag in FLAGS if isinstance(flag.becomes, Only) and "image_train" in flag.scripts]


@pytest.mark.parametrize("flag", REFUSED, ids=lambda flag: flag.name)
def test_refused_by_name_with_what_to_use_instead(tmp_path: Path, flag: object) -> None:
    assert hasattr(flag, "name") and hasattr(flag, "type") and isinstance(flag.becomes, Only)
    value = {bool: "1", int: "3", float: "0.5", str: "x"}[flag.type]
    with pytest.raises(InputError) as error:
        fork_settings(base_line(tmp_path, f"--{flag.name} {value}"))
    assert f"--{flag.name}" in error.value.what
    assert error.value.remedy is not None


@pytest.mark.parametrize(
    "extra",
    [
        "--autosave 1",
        "--class_cond 1 --class_ix_drop 7",
        "--class_cond 1 --class_map_path nowhere.json",
        "--char_level 0",
        "--timestep_respacing 50",
        "--arithmetic_avg_from_step 5,0",
        "--safebox_path nowhere.json",
        "--cross_attn_q_t_emb 0",
        "--txt_avoid_groupnorm 1",
        "--num_channels 72",
        "--clipname ViT-X",
        "--silu_impl swish",
        "--attention_resolutions a,b",
        "--fp16_scale_growth 0",
        "--fp16_scale_growth 1e-320",
        "--rescale_learned_sigmas 1 --vb_loss_ratio 0",
        "--rescale_learned_sigmas 1 --vb_loss_ratio nan",
        "--channel_mult inf,1",
        "--channel_mult 0,1",
        "--attention_resolutions nan",
        "--num_heads 3",
        "--txt_resolutions 64 --txt_ff_mult 0",
        "--max_seq_len 0",
    ],
)
def test_refused_in_this_combination(tmp_path: Path, extra: str) -> None:
    with pytest.raises(InputError):
        fork_settings(base_line(tmp_path, extra))


def test_no_effect_rows_say_why() -> None:
    assert all(flag.becomes.reason for flag in FLAGS if isinstance(flag.becomes, NoEffect))


def test_a_sampling_line() -> None:
    line = "--model_path m.pt --image_size 64 --text_input hi --num_samples 8 --use_ddim 1 --seed 3"
    sampling = fork_sampling(
        f"{line} --timestep_respacing ddim50 --clf_free_guidance 1 --guidance_scale 2".split()
    )
    assert (sampling.model, sampling.txt, sampling.n, sampling.seed) == (Path("m.pt"), "hi", 8, 3)
    assert (sampling.sampler, sampling.fork_spacing, sampling.guidance_scale) == ("ddim", "ddim50", 3.0)
    upsampler = fork_sampling(["--model_path", "m.pt", "--large_size", "128", "--guidance_scale", "2"])
    assert (upsampler.sampler, upsampler.guidance_scale, upsampler.batch_size) == ("ddpm", 1.0, 16)
    assert upsampler.notes == ["--guidance_scale has no effect: clf_free_guidance is 0"]
    with pytest.raises(InputError, match="model_path"):
        fork_sampling(["--image_size", "64"])


def test_a_sampling_line_lists_what_does_nothing_in_it() -> None:
    def notes(line: str) -> list[str]:
        return fork_sampling(f"--model_path m.pt {line}".split()).notes

    assert notes("--image_size 64 --clipname RN50x4 --weave_ff_mult 3") == [
        "--weave_ff_mult 3 has no effect: txt is 0",
        "--clipname RN50x4 has no effect: using_capt is 0",
    ]
    told = ["--text_input hi has no effect: txt is 0", "--capt_input sun has no effect: using_capt is 0"]
    assert notes("--text_input hi --capt_input sun") == told
    assert notes("--txt 1 --using_capt 1 --text_input hi --capt_input sun") == []
    blur = "--large_size 64 --base_samples b.npz --blur_sigma_max 0.9"
    assert notes(blur) == ["--blur_sigma_max 0.9 has no effect: blur_prob is 0"]
    assert notes(f"{blur} --blur_prob 0.5") == [
        "--blur_prob 0.5 has no effect: --base_samples is given",
        "--blur_sigma_max 0.9 has no effect: --base_samples is given",
    ]


def test_of_flags_that_were_not_given_nothing_is_told() -> None:
    line = "--model_path m.pt --large_size 32 --small_size 16 --base_samples b.npz --batch_size 0"
    with pytest.raises(InputError, match=r"^--batch_size 0: no pictures to make"):
        fork_plan(line.split(), "cpu")


def test_words_of_the_fork_and_ours_are_told_apart() -> None:
    line = [
        "--data_dir",
        "d",
        "--out",
        "o",
        "--set",
        "run.seed=1",
        "--lr=1e-3",
        "--images",
        "4k",
        "--txt",
        "1",
        "config.toml",
    ]
    theirs, ours = split_words(line, ours={"out", "set", "images"})
    assert theirs == ["--data_dir", "d", "--lr=1e-3", "--txt", "1"]
    assert ours == ["--out", "o", "--set", "run.seed=1", "--images", "4k", "config.toml"]


@pytest.mark.parametrize("words", [("--num_chanels", "3"), ("--num_chanels=3",), ("--channelmult", "1,2")])
def test_a_slip_of_the_pen_is_told_the_flag_that_was_meant(words: tuple[str, ...]) -> None:
    theirs, ours = split_words(["--txt", "1", *words, "--out", "o"], ours={"out", "set"})
    assert (theirs, ours) == (["--txt", "1", *words], ["--out", "o"])
    with pytest.raises(InputError, match="is not a flag of the fork's image_train") as refused:
        fork_settings(theirs)
    assert refused.value.remedy in ("Did you mean 'num_channels'?", "Did you mean 'channel_mult'?")


def test_a_suggested_flag_is_one_of_the_script() -> None:
    with pytest.raises(InputError) as refused:
        parse_fork_flags(["--model_pth", "m.pt"], "image_train")
    assert "model_path" not in str(refused.value.remedy)


@pytest.mark.parametrize("command", [TrainFlags, SampleFlags])
def test_no_option_of_ours_is_taken_for_a_slip(command: type) -> None:
    for name in [field.name.replace("_", "-") for field in fields(command)] + ["set", "class", "help"]:
        if name.replace("-", "_") not in {flag.name for flag in FLAGS}:
            prefix_of = [flag.name for flag in FLAGS if flag.name.startswith(name)]
            theirs, _ = split_words([f"--{name}", "x"], ours=())
            assert bool(theirs) == (len(prefix_of) == 1), name
    # Nor is a slip in one of them.
    assert split_words(["--sed", "3"], ours={"seed"}) == ([], ["--sed", "3"])


def test_texts_of_a_network_that_takes_none(tmp_path: Path) -> None:
    line = f"--data_dir {tmp_path} --large_size 32 --small_size 16 --channel_mult 1,2 --autosave 0".split()
    with pytest.raises(InputError, match=r"use_txt_in_dataload 1 is refused .* mirrors"):
        fork_settings([*line, "--use_txt_in_dataload", "1", "--txt", "0"])
    assert fork_settings([*line, "--use_txt_in_dataload", "0"]).notes == []
    text = "--txt 1 --txt_resolutions 16 --cross_attn_q_t_emb 1 --char_level 1 --use_txt_in_dataload 1"
    notes = fork_settings([*line, *text.split()]).notes
    assert notes == ["--use_txt_in_dataload True has no effect: texts are read whenever the network has text"]


def test_what_a_note_says_is_so(tmp_path: Path) -> None:
    captions = tmp_path / "capts.json"
    captions.write_text('{"a": "a cat"}')
    line = f"--data_dir {tmp_path} --autosave 0 --capt_path {captions}".split()
    assert fork_settings(line).notes == [f"--capt_path {captions} has no effect: using_capt is 0"]
    filtered = fork_settings([*line, "--require_capts", "1"])
    assert filtered.notes == []
    assert make_config(filtered.layer()).data.captions == captions
    told = "--verbose True has no effect: layers are not printed; `txtdiff info` sums up a network"
    assert fork_settings([*line[:4], "--verbose", "1"]).notes == [told]
    assert fork_sampling(["--model_path", "m.pt", "--verbose", "1"]).notes == [told]


def test_a_file_that_a_note_says_has_no_effect_is_not_read(tmp_path: Path) -> None:
    boxes = tmp_path / "safe.json"
    boxes.write_text("{}")
    files = f"--safebox_path {boxes} --px_scales_path none.json --capt_path none.json"
    asked = fork_settings(f"--data_dir {tmp_path} --autosave 0 --crop_prob 0 {files}".split())
    assert len(asked.notes) == 3 and all(" has no effect: " in note for note in asked.notes)
    assert not {"data.safeboxes", "data.px_scales", "data.captions"} & asked.overrides.keys()
    data = make_config(asked.layer()).data
    assert (data.folder, data.safeboxes, data.px_scales, data.captions) == (tmp_path, None, None, None)
    uncropped = fork_settings(base_line(tmp_path, "--crop_prob 0 --safebox_path none.json"))
    assert "--safebox_path none.json has no effect: crop_prob is 0" in uncropped.notes
    assert make_config(uncropped.layer()).data.safeboxes is None


def test_resolutions_that_the_network_does_not_have(tmp_path: Path) -> None:
    """Settings of ours that do nothing are errors; the fork's lines hold them all the same."""
    model = settings(tmp_path, "--attention_resolutions 7 --txt_resolutions 5").model
    assert (model.attention.resolutions_px, model.text) == ((), None)
    kept = settings(tmp_path, "--attention_resolutions 16,7").model
    assert kept.attention.resolutions_px == (16, 7)


@pytest.mark.parametrize("script", ["--image_size 64", "--large_size 128"])
def test_log_interval_in_a_sampling_line(script: str) -> None:
    sampling = fork_sampling(f"--model_path m.pt {script} --log_interval 5".split())
    assert sampling.notes == ["--log_interval 5 has no effect: the fork's sampling scripts log nothing"]
    assert fork_sampling(f"--model_path m.pt {script}".split()).notes == []


def test_word_pieces_of_ours_instead_of_a_tokenizer_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tokenizer_file") as refused:
        fork_settings(base_line(tmp_path, "--char_level 0"))
    assert refused.value.remedy is not None and "--set model.text.tokenizer=clip" in refused.value.remedy
    layer = fork_settings(base_line(tmp_path)).layer()
    text = make_config(layer, settings_layer(["model.text.tokenizer=clip"])).model.text
    assert text is not None and (text.tokenizer, text.vocab_size) == ("clip", 49415)


def test_config_path_is_written_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "config.json"
    line = [*base_line(tmp_path), "--config_path", str(path)]
    asked = fork_settings(line)
    assert not path.exists()
    asked.write_config_json()
    tree = json.loads(path.read_text())
    assert tree["tokenizer_config"] == {"max_seq_len": 384, "char_level": True}
    assert tree["is_super_res"] is False
    assert (tree["channel_mult"], tree["clipmod"], tree["verbose"]) == ("1,2,2,4,4", None, True)
    assert "tokenizer" not in tree and "data_dir" not in tree and "lr" not in tree
    stored, meant = read_config_json(path), parse_fork_flags(line, "image_train")
    assert all(stored.values[name] == meant.values[name] for name in stored.given)

    again = fork_settings(line)
    assert (again.notes, again.overrides) == (asked.notes, asked.overrides)
    assert again.config_json is None
    short = f"--data_dir {tmp_path} --autosave 0 --config_path {path} --txt_depth 3".split()
    left_out = fork_settings(short)
    assert left_out.overrides["model.channels"] == 256
    assert left_out.overrides["model.text"]["depth"] == 3
    assert left_out.notes[0].startswith(f"flags that the command line leaves out are read from {path}: ")
    assert left_out.notes[1] == f"--txt_depth 3 counts, not the 6 of {path}"
    assert json.loads(path.read_text()) == tree


def test_config_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written there is what the next line reads."""
    monkeypatch.setenv("HOME", str(tmp_path))
    fork_settings([*base_line(tmp_path), "--config_path=~/config.json"]).write_config_json()
    short = f"--data_dir {tmp_path} --autosave 0 --config_path=~/config.json".split()
    assert fork_settings(short).overrides["model.channels"] == 256
    assert not (Path("~") / "config.json").exists()


def test_config_path_is_a_file_here(tmp_path: Path) -> None:
    for name in (str(tmp_path), "gs://bucket/config.json"):
        with pytest.raises(InputError, match="is no file on this machine"):
            fork_settings([*base_line(tmp_path), "--config_path", name])


def test_a_run_that_does_not_begin_leaves_no_config_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would speak for the next line, whatever that says."""
    words = [
        *base_line(tmp_path),
        "--config_path",
        str(tmp_path / "config.json"),
        "--out",
        str(tmp_path / "run"),
    ]
    monkeypatch.setattr(sys, "argv", ["txtdiff", "train", *words, "--set", "model.captions.weights=random"])
    with pytest.raises(SystemExit) as ended:  # there are no pictures
        main()
    assert ended.value.code == 2
    assert not (tmp_path / "config.json").exists()


def test_config_path_says_which_script(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    large = "--large_size 64 --small_size 32 --num_channels 64 --channel_mult 1,2 --noise_cond 1"
    train = [*f"--data_dir {tmp_path} --autosave 0 {large} --config_path".split(), str(path)]
    fork_settings(train).write_config_json()
    sampling = fork_sampling(f"--model_path m.pt --config_path {path} --base_samples b.npz".split())
    assert (sampling.flags.upsampler, sampling.flags.values["num_channels"]) == (True, 64)
    assert sampling.flags.values["channel_mult"] == "1,2" and sampling.flags.on("noise_cond")
    [note] = sampling.notes
    assert note.startswith(f"flags that the command line leaves out are read from {path}: channel_mult 1,2, ")
    base = json.loads(path.read_text()) | {"is_super_res": False}
    path.write_text(json.dumps({k: v for k, v in base.items() if k in ("is_super_res", "num_channels")}))
    with pytest.raises(InputError, match="describes a base model, and the command line is for an upsampler"):
        fork_settings(train)
    path.write_text(json.dumps(base | {"is_super_res": "False"}))
    with pytest.raises(InputError, match="is_super_res is 'False', neither true nor false"):
        fork_settings(train)
    missing = fork_sampling(f"--model_path m.pt --config_path {tmp_path / 'no.json'}".split())
    assert missing.notes == [f"--config_path {tmp_path / 'no.json'} has no effect: there is no such file"]
