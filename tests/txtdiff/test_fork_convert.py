"""Runs of the fork become checkpoints of ours; hostile files are refused and nothing in them runs."""

from __future__ import annotations

import json
import pickle
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from fork_reference import ForkNetwork
from PIL import Image
from torch import Tensor, nn

from datatools.errors import InputError
from txtdiff.cascade import Prompt, SamplerSettings, load_cascade, sample_pictures
from txtdiff.cli import main
from txtdiff.fork import convert
from txtdiff.fork.convert import convert_fork_model, convert_fork_run
from txtdiff.fork.files import find_fork_run, read_config_json, read_state
from txtdiff.fork.optimizer import read_optimizer
from txtdiff.fork.parse import parse_fork_flags
from txtdiff.fork.sampling import fork_sampling, load_fork_model
from txtdiff.train_options import TrainFlags, training_plan
from txtdiff.training.checkpoint import verify_checkpoint
from txtdiff.training.distributed import Ranks
from txtdiff.training.start import start_or_resume
from txtdiff.training.state import TrainingState
from txtdiff.training.weights import load_network

FLAGS = shlex.split(
    """--image_size 16 --num_channels 32 --channel_mult 1,2 --num_res_blocks 1 --attention_resolutions 8
    --txt 1 --txt_dim 64 --txt_depth 1 --max_seq_len 24 --txt_resolutions 8 --cross_attn_q_t_emb 1
    --learn_sigma 1 --weave_attn 1 --weave_use_ff_gain 1 --noise_schedule cosine --rescale_timesteps 0
    --silu_impl fused"""
)
TEXT = torch.tensor([[0, 80, 81, 1]])


def fork_run(folder: Path, extra: str = "") -> dict[str, Tensor]:
    """A run directory as the fork leaves it; returns the weights of its step 20."""
    argv = [*FLAGS, *extra.split()]
    flags = parse_fork_flags(argv, "image_train").values
    reference = ForkNetwork(flags, False, {"width": 64, "layers": 2, "heads": 4, "vocab": 300})
    given = {"txt": TEXT}
    if flags["using_capt"]:
        given["capt"] = torch.ones(1, 77, dtype=torch.long)
    with torch.no_grad():
        reference.run(torch.zeros(1, 3, 16, 16), torch.tensor([5]), **given)
    names = ("max_seq_len", "char_level")
    model_flags = {name: value for name, value in flags.items() if name in " ".join(argv)}
    config = {"is_super_res": False, "tokenizer_config": {n: flags[n] for n in names}, "clipmod": None}
    (folder / "config.json").write_text(json.dumps(config | model_flags))
    (folder / "progress.csv").write_text("step,samples\n10,88\n20,168\n")
    weights = {key: nn.Parameter(t.double() if t.ndim == 0 else t) for key, t in reference.state.items()}
    torch.save({key: 0.9 * t for key, t in weights.items()}, folder / "model000010.pt")
    torch.save(weights, folder / "model000020.pt")
    torch.save({key: 0.5 * t for key, t in weights.items()}, folder / "ema_0.999_000020.pt")
    return reference.state


def output(network: nn.Module) -> Tensor:
    x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return network(x, torch.tensor([5]), txt=TEXT)  # type: ignore[no-any-return]


def test_a_run_becomes_a_checkpoint(tmp_path: Path) -> None:
    state = fork_run(tmp_path)
    checkpoint = convert_fork_run(tmp_path, tmp_path / "ours")
    assert checkpoint.name == "step-168"
    raw, config = load_network(checkpoint, "raw")
    averaged, _ = load_network(tmp_path / "ours")
    assert config.averaging.rates == (0.999,)
    assert (config.diffusion.noise_schedule, config.diffusion.variance) == ("cosine", "learned_range")
    flags = parse_fork_flags(FLAGS, "image_train").values
    reference = ForkNetwork(flags, False)
    reference.state = state
    x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = reference.run(x, torch.tensor([5]), txt=TEXT)
    assert (output(raw) - wanted).abs().max() <= 1e-5
    for name, weight in averaged.state_dict().items():
        assert torch.equal(weight, raw.state_dict()[name] * 0.5), name


def test_an_older_step_without_averages(tmp_path: Path) -> None:
    fork_run(tmp_path)
    checkpoint = convert_fork_run(tmp_path, tmp_path / "ours", step=10)
    assert checkpoint.name == "step-88"
    raw, averaged = (load_network(checkpoint, which)[0] for which in ("raw", "averaged"))
    assert torch.equal(output(raw), output(averaged))


def test_a_whole_checkpoint_is_not_converted_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fork_run(tmp_path)
    checkpoint = convert_fork_run(tmp_path, tmp_path / "ours")
    monkeypatch.delattr(convert, "read_state")  # it is told before the long work
    with pytest.raises(InputError, match="step-168 is there already, and whole"):
        convert_fork_run(tmp_path, tmp_path / "ours")
    verify_checkpoint(checkpoint)


def resumed(folder: Path, *extra: str, changes: Sequence[str] = ()) -> TrainingState:
    """What a training line of the fork with --resume_checkpoint goes on from, its run directory in ours/."""
    line = [*FLAGS, "--char_level", "1", "--batch_size", "8", "--data_dir", "pictures", *extra]
    line += ["--resume_checkpoint", str(folder / "model000020.pt")]
    plan = training_plan(TrainFlags(out=folder / "ours", images=None, changes=[*changes]), None, line)
    return start_or_resume(plan.settings, plan.out, torch.device("cpu"), Ranks())


def test_a_resumed_run_has_the_averages_that_its_line_asks_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that the fork kept, where it did; none of its settings counts as changed, then or later."""
    weights = fork_run(tmp_path, "--char_level 1")["out.2.bias"]
    rates = ("--ema_rate", "0.99,0.999", "--arithmetic_avg_from_step", "-1")
    for said in ("no average of rate 0.99: its weights stand in for it", ""):
        state = resumed(tmp_path, *rates, changes=["averaging.lengths=0.1"])
        told = " ".join(capsys.readouterr().err.split())
        assert said in told and "changed since" not in told
        assert state.images == 168 and state.config.averaging.start == "exponential"
        means = {rate: mean["head.bias"] for rate, mean in state.averages.by_rate.items()}
        assert torch.equal(means[0.99], weights) and torch.equal(means[0.999], 0.5 * weights)
        assert torch.equal(state.averages.by_length[0.1]["head.bias"], weights)
        assert [path.name for path in (tmp_path / "ours").iterdir()] == ["step-168"]


def test_an_average_that_a_resumed_run_leaves_behind_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fork_run(tmp_path, "--char_level 1")
    assert [*resumed(tmp_path).averages.by_rate] == [0.9999]  # the fork's default
    assert "ema_0.999_000020.pt is not taken over" in capsys.readouterr().err


def test_a_run_with_other_flags_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    fork_run(tmp_path, "--char_level 1")
    with pytest.raises(InputError, match=r"model000020\.pt was trained with other settings") as refused:
        resumed(tmp_path, "--txt_depth", "2")
    assert "model.text.depth: 1 -> 2" in refused.value.what
    assert refused.value.remedy == "Give the flags that it was trained with."
    assert not (tmp_path / "ours").exists()
    assert resumed(tmp_path).images == 168


def test_a_resumed_run_takes_its_frozen_tower_from_where_its_settings_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork_run(tmp_path, "--char_level 1")
    asked: list[object] = []

    def note(*_: object, caption_weights: str, **__: object) -> None:
        asked.append(caption_weights)
        raise InputError("enough")

    monkeypatch.setattr(convert, "read_fork_run", note)
    captions = shlex.split("--using_capt 1 --glide_style_capt_attn 1 --clipname ViT-B/32")
    with pytest.raises(InputError, match="enough"):
        resumed(tmp_path, *captions, changes=["model.captions.weights=random"])
    assert asked == ["random"]


def test_settings_that_do_not_exist_are_named(tmp_path: Path) -> None:
    fork_run(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"cosine"', '"foo"'))
    with pytest.raises(InputError, match=r"diffusion\.noise_schedule"):
        convert_fork_run(tmp_path, tmp_path / "ours")


def test_a_model_file_with_the_flags_of_a_command_line(tmp_path: Path) -> None:
    fork_run(tmp_path)
    (tmp_path / "config.json").unlink()
    flags = parse_fork_flags(FLAGS, "image_train")
    checkpoint = convert_fork_model(tmp_path / "model000020.pt", flags, tmp_path / "ours")
    assert load_network(checkpoint)[1].averaging.rates == (0.999,)
    with pytest.raises(InputError, match="not called modelN"):
        convert_fork_model(tmp_path / "ema_0.999_000020.pt", flags, tmp_path / "ours")


def test_a_sampling_line_loads_its_model(tmp_path: Path) -> None:
    state = fork_run(tmp_path)
    model = f"--model_path {tmp_path / 'ema_0.999_000020.pt'}".split()
    network = load_fork_model(fork_sampling([*FLAGS, *model]))
    assert torch.equal(network.head.bias, 0.5 * state["out.2.bias"])


def sample(monkeypatch: pytest.MonkeyPatch, folder: Path, *words: object) -> int:
    """`txtdiff sample` with a line of the fork, pictures in folder/out; the exit status."""
    line = [*FLAGS, "--model_path", str(folder / "model000020.pt"), *map(str, words)]
    monkeypatch.setattr("sys.argv", ["txtdiff", "sample", "--out", str(folder / "out"), *line])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_sampling_line_makes_the_pictures_of_its_converted_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork_run(tmp_path)
    asked = "--text_input abc --num_samples 3 --batch_size 2 --seed 7 --use_ddim 1 --timestep_respacing ddim4"
    guided = "--clf_free_guidance 1 --guidance_scale 0.5"
    assert sample(monkeypatch, tmp_path, *asked.split(), *guided.split(), "--device", "cpu", "--npz") == 0
    made = np.stack([np.asarray(Image.open(tmp_path / "out" / f"0000{i}.png")) for i in range(3)])
    convert_fork_run(tmp_path, tmp_path / "ours")
    settings = SamplerSettings(sampler="ddim", fork_spacing="ddim4", guidance_txt=1.5)
    prompts = [Prompt(txt="abc", seed=7 + i) for i in range(3)]
    batches = sample_pictures(load_cascade([tmp_path / "ours"], "raw"), prompts, [settings], batch_size=2)
    assert np.array_equal(made, np.concatenate([batch.pictures for batch in batches]))
    assert np.array_equal(np.load(tmp_path / "out" / "samples_3x16x16x3.npz")["arr_0"], made)
    facts = json.loads(Image.open(tmp_path / "out" / "00002.png").text["txtdiff"])
    assert (facts["txt"], facts["seed"], facts["stages"][0]["guidance_txt"]) == ("abc", 9, 1.5)


def test_a_sampling_line_leaves_its_flags_to_config_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fork_run(tmp_path)
    asked = shlex.split("--text_input abc --num_samples 1 --seed 7 --timestep_respacing 4 --device cpu")
    assert sample(monkeypatch, tmp_path, *asked) == 0
    whole = np.asarray(Image.open(tmp_path / "out" / "00000.png"))
    line = ["--model_path", str(tmp_path / "model000020.pt"), "--config_path", str(tmp_path / "config.json")]
    monkeypatch.setattr("sys.argv", ["txtdiff", "sample", "--out", str(tmp_path / "short"), *line, *asked])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert "flags that the command line leaves out are read from" in capsys.readouterr().err
    assert np.array_equal(np.asarray(Image.open(tmp_path / "short" / "00000.png")), whole)


def test_texts_that_only_a_tokenizer_file_could_spell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fork_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model000020.pt"
    weights = torch.load(path, weights_only=True)
    torch.save(weights | {"text_encoder.token_emb.weight": torch.zeros(500, 64)}, path)
    with pytest.raises(InputError, match="spelled by the fork's tokenizer_file") as refused:
        convert_fork_run(tmp_path, tmp_path / "ours")
    assert refused.value.remedy is not None and "network_from_fork" in refused.value.remedy
    assert sample(monkeypatch, tmp_path, "--text_input", "abc", "--num_samples", "1") == 2
    assert "spelled by the fork's tokenizer_file" in capsys.readouterr().err.replace("\n", " ")
    assert sample(monkeypatch, tmp_path, "--text_input", "abc", "--char_level", "1") == 2
    assert "token_embedding.weight (500, 64), not (105, 64)" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--num_samples 1", "no text to write"),
        ("--text_inptu a", "Did you mean 'text_input'?"),
        ("--text_input a --num_samples 0", "no pictures to make"),
        ("--text_input a --base x", "--base and the parent project's"),
        ("--text_input a --sampler ddim:3", "--sampler and the parent project's"),
        ("--text_input a --set base.eta=1", "--set and the parent project's"),
        ("--text_dir x", "--text_dir x is refused"),
    ],
)
def test_sampling_lines_that_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    message: str,
) -> None:
    fork_run(tmp_path)
    assert sample(monkeypatch, tmp_path, *words.split()) == 2
    assert message in capsys.readouterr().err.replace("\n", " ")


def test_a_frozen_tower_that_the_fork_did_not_store(tmp_path: Path) -> None:
    extra = "--using_capt 1 --glide_style_capt_attn 1 --freeze_capt_encoder 1 --clipname ViT-B/32"
    fork_run(tmp_path, extra)
    for path in tmp_path.glob("*.pt"):
        weights = torch.load(path, weights_only=True)
        kept = {k: t for k, t in weights.items() if not k.startswith("clipmod.")}
        for key in [key for key in kept if key.endswith("encoder_kv.weight")]:
            kept[key] = torch.zeros(kept[key].shape[0], 512, 1)  # the named tower's width
        torch.save(kept, path)
    sampling = fork_sampling([*FLAGS, *extra.split(), "--model_path", str(tmp_path / "model000020.pt")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(InputError, match=r"captions\.tower cannot be had") as absent:
            load_fork_model(sampling)
        assert absent.value.remedy is not None and "--caption-weights" in absent.value.remedy
        # As if the hub had it: the network's own first weights stay.
        patch.setattr("txtdiff.fork.network.load_caption_tower", lambda network: None)
        network = load_fork_model(sampling)
    assert torch.equal(network.head.bias, torch.load(sampling.model, weights_only=True)["out.2.bias"])
    with pytest.raises(InputError) as error:
        convert_fork_run(tmp_path, tmp_path / "ours", caption_weights=str(tmp_path / "no-such-file.pt"))
    assert error.value.remedy is not None and "random" in error.value.remedy
    checkpoint = convert_fork_run(tmp_path, tmp_path / "ours", caption_weights="random")
    _, config = load_network(checkpoint)
    assert config.model.captions is not None and config.model.captions.weights == "random"


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no model"):
        find_fork_run(tmp_path)
    fork_run(tmp_path)
    with pytest.raises(InputError, match="no model of step 7"):
        find_fork_run(tmp_path, step=7)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(InputError, match="no object"):
        read_config_json(tmp_path / "config.json")
    (tmp_path / "config.json").write_text('{"image_size": 16, "unknown_flag": 3}')
    with pytest.raises(InputError, match="unknown_flag"):
        read_config_json(tmp_path / "config.json")


class Bomb:
    """Unpickling it writes a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (f"open({str(self.proof)!r}, 'w').close()",)


def hostile(kind: str, path: Path, proof: Path) -> None:
    """A file that must not be believed."""
    if kind == "bomb among tensors":
        torch.save({"out.2.weight": torch.zeros(2), "x": Bomb(proof)}, path)
    elif kind == "plain pickle bomb":
        path.write_bytes(pickle.dumps({"x": Bomb(proof)}))
    elif kind == "whole module":
        torch.save(nn.Linear(2, 2), path)
    elif kind == "list":
        torch.save([torch.zeros(2)], path)
    elif kind == "numbers":
        torch.save({"out.2.weight": 3}, path)
    elif kind == "truncated":
        torch.save({"out.2.weight": torch.zeros(10_000)}, path)
        path.write_bytes(path.read_bytes()[:5_000])
    elif kind == "truncated, old form":
        torch.save({"out.2.weight": torch.zeros(99)}, path, _use_new_zipfile_serialization=False)
        path.write_bytes(path.read_bytes()[:330])
    elif kind == "noise":
        path.write_bytes(bytes(range(256)) * 40)
    else:
        path.write_bytes(b"")


@pytest.mark.parametrize(
    "kind",
    [
        "bomb among tensors",
        "plain pickle bomb",
        "whole module",
        "list",
        "numbers",
        "truncated",
        "truncated, old form",
        "noise",
        "empty",
    ],
)
def test_hostile_files_are_refused_and_not_executed(tmp_path: Path, kind: str) -> None:
    path, proof = tmp_path / "model000001.pt", tmp_path / "proof"
    hostile(kind, path, proof)
    start = time.monotonic()
    with pytest.raises(InputError) as refused:
        read_state(path)
    assert time.monotonic() - start < 1
    assert "weights_only" not in str(refused.value) and "torch.load" not in str(refused.value)
    if "bomb" in kind:
        assert "holds more than tensors; nothing in it was run" in refused.value.what
        with pytest.raises(InputError, match="holds more than tensors"):
            read_optimizer(path)
    assert not proof.exists()


def test_the_bomb_would_have_gone_off(tmp_path: Path) -> None:
    hostile("plain pickle bomb", tmp_path / "bomb.pt", tmp_path / "proof")
    pickle.loads((tmp_path / "bomb.pt").read_bytes())
    assert (tmp_path / "proof").exists()


def test_wrong_shapes_are_refused_before_they_are_used(tmp_path: Path) -> None:
    state = fork_run(tmp_path)
    torch.save(state | {"out.2.weight": torch.zeros(6, 32, 3, 5)}, tmp_path / "model000020.pt")
    with pytest.raises(
        InputError, match=r"of another shape: head.weight \(6, 32, 3, 5\), not \(6, 32, 3, 3\)"
    ):
        convert_fork_run(tmp_path, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()
