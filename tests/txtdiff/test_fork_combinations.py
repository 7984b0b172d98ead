"""Combinations of flags that no parity file holds: our network against the fork's, written a second time."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from fork_reference import ForkNetwork, recipe
from torch import Tensor

from datatools.errors import InputError
from txtdiff.fork import network_from_fork
from txtdiff.fork.network import tower_of
from txtdiff.fork.parse import parse_fork_flags

TOWER = {"width": 64, "layers": 3, "heads": 4, "vocab": 300}
SIZE = 16


def random_flags(random: Random, upsampler: bool, large: int | None = None) -> dict[str, Any]:
    """Flags of a small network that the fork could run, everything else by chance.

    Args:
        large: the pictures' size, with as many levels as lead down to 8 px; None: 16 or 32 px.
    """
    pick, chance = random.choice, lambda p=0.5: random.random() < p
    channels = pick([32, 32, 32, 72])
    size = pick([SIZE, SIZE, SIZE, 32]) if large is None else large
    n_levels = pick([2, 3]) if large is None else (large // 8).bit_length()
    given = size == SIZE or chance() or size == 128  # the fork has no list that goes with 128
    modulated = chance(0.8)
    flags: dict[str, Any] = {
        "num_channels": channels,
        # Nothing stands for the list that goes with the size.
        "channel_mult": ",".join(pick("12") for _ in range(n_levels)) if given else "",
        "num_res_blocks": pick([1, 1, 2]),
        "num_heads": pick([2, 4]),
        "num_heads_upsample": pick([-1, 1, 2]),
        "channels_per_head": pick([0, 8, 16]) if channels != 72 else 12,
        "channels_per_head_upsample": pick([-1, 0, 8]),
        # 5 and 3 stand for the level whose factor the size divided by them rounds down to.
        "attention_resolutions": pick(["8", "16", "16,8", "5", "3,16"]),
        "txt_resolutions": pick(["8", "16", "16,8"]),
        "txt_dim": pick([32, 64, 128]),
        "txt_depth": pick([1, 2]),
        "txt_ff_mult": pick([2, 3]),
        "weave_ff_mult": pick([1, 2]),
        "max_seq_len": 24,
        "cross_attn_q_t_emb": modulated,
        "weave_attn": modulated and chance(0.7),
        "txt_avoid_groupnorm": not modulated and chance(),
        "txt_groupnorm_1group": modulated and (chance() or channels == 72),
        "cross_attn_channels_per_head": pick([-1, 8, 16]),
        "cross_attn_init_gain": pick([1, 0.5]),
        "cross_attn_gain_scale": pick([1, 2, 0.3]),
        "silu_impl": pick(["torch", "fused", "openai", "efficientnet"]) if channels != 72 else "torch",
        "post_txt_image_attn": pick(["none", "none", "final", "final_res", "all"]),
        "no_attn": chance(0.1),
        "class_cond": chance(0.2),
        "monochrome": chance(0.25),
    }
    on_by_chance = """learn_sigma resblock_updown use_scale_shift_norm txt_t5 txt_rotary txt_rezero txt_ff_glu
        txt_output_layers_only txt_attn_before_attn cross_attn_rezero cross_attn_rezero_keeps_prenorm
        cross_attn_use_layerscale weave_use_ff weave_ff_rezero weave_ff_force_prenorm weave_ff_glu weave_v2
        weave_qkv_dim_always_text weave_use_ff_gain using_capt xattn_capt weave_capt glide_style_capt_attn
        clip_use_penultimate_layer freeze_capt_encoder no_attn_substitute_resblock"""
    flags |= {name: chance() for name in on_by_chance.split()}
    flags["txt"] = chance(0.85)
    if flags["using_capt"] or flags["cross_attn_rezero"]:
        flags["silu_impl"] = "torch"  # fused stops at text or caption attention without a norm
    if channels == 72:
        # The text's 16 heads cannot share 72 channels.
        flags |= {"weave_qkv_dim_always_text": True, "post_txt_image_attn": "none"}
    if upsampler:
        flags |= {
            "large_size": size,
            "small_size": size // 2,
            "noise_cond": chance(),
            "colorize": chance(0.2),
        }
        return flags | {"up_interp_mode": pick(["bilinear", "bicubic", "nearest", "area"])}
    return flags | {"image_size": size, "monochrome_adapter": chance(0.2)}


def inputs(flags: dict[str, Any], upsampler: bool, generator: torch.Generator) -> dict[str, Tensor]:
    """Conditions for one picture."""
    given = {}
    if flags["txt"]:
        letters = torch.randint(4, 105, (1, 8), generator=generator)
        given["txt"] = torch.cat([torch.tensor([[0]]), letters, torch.tensor([[6, 80, 1, 0, 0]])], dim=1)
    if flags["using_capt"]:
        given["capt"] = torch.nn.functional.pad(torch.tensor([[298, 4, 200, 30, 299]]), (0, 72))
    if flags["class_cond"]:
        given["y"] = torch.tensor([3])
    if upsampler:
        channels = 1 if flags["colorize"] or flags["monochrome"] else 3
        small = flags["small_size"]
        given["low_res"] = torch.randn(1, channels, small, small, generator=generator)
        if flags["noise_cond"]:
            given["cond_timesteps"] = torch.tensor([17])
    return given


def compare(seed: int, large: int | None = None) -> tuple[float, float]:
    """The largest difference between our network and the fork's, and the largest number of its output."""
    random, generator = Random(seed), torch.Generator().manual_seed(seed)
    upsampler = random.random() < 0.3
    chosen = random_flags(random, upsampler, large)
    argv = [word for name, value in chosen.items() for word in (f"--{name}", str(value))]
    flags = parse_fork_flags(argv, "super_res_train" if upsampler else "image_train").values
    channels = 1 if flags["monochrome"] or flags["monochrome_adapter"] else 3
    size = flags["large_size"] if upsampler else flags["image_size"]
    x, t = torch.randn(1, channels, size, size, generator=generator), torch.tensor([random.randrange(1000)])
    given = inputs(chosen, upsampler, generator)
    reference = ForkNetwork(flags, upsampler, TOWER)
    with torch.no_grad():
        wanted = reference.run(x, t, **given)
        network = network_from_fork(argv, reference.state, upsampler)
        return float((network(x, t, **given) - wanted).abs().max()), float(wanted.abs().max())


@pytest.mark.parametrize("seed", range(30))
def test_any_combination_computes_what_the_fork_computes(seed: int) -> None:
    difference, largest = compare(seed)
    assert difference <= 1e-5 * max(1.0, largest)


def test_idle_weights_are_taken_and_ignored() -> None:
    """Derived buffers, CLIP's projection, and the text side of a network without attention."""
    line = """--image_size 16 --num_channels 32 --channel_mult 1,2 --txt 1 --no_attn 1 --txt_dim 64
        --using_capt 1 --attention_resolutions 8 --txt_resolutions 8 --cross_attn_q_t_emb 1"""
    argv = line.split()
    flags = parse_fork_flags(argv, "image_train").values
    reference = ForkNetwork(flags, False, TOWER)
    x, t = torch.randn(1, 3, SIZE, SIZE), torch.tensor([5])
    given = {"txt": torch.tensor([[0, 80, 1]]), "capt": torch.ones(1, 77, dtype=torch.long)}
    wanted = reference.run(x, t, **given)
    idle = {
        "clipmod.text_projection": (64, 768),
        "clipmod.logit_scale": (),
        "clipmod.ln_final.weight": (64,),
        "text_encoder.model.rotary_pos_emb.inv_freq": (16,),
        "tgt_pos_embs.8.weights_0": (1, 8, 1, 128),
        "output_blocks.0.2.weave_attn.text_to_image_layers.0.attn.fake_proj_weight": (64, 64),
        "output_blocks.0.2.cross_attn.post_txt_image_attn.attention.freqs": (8, 8, 8),
    }
    state = reference.state | {name: recipe(name, shape) for name, shape in idle.items()}
    with torch.no_grad():
        output = network_from_fork(argv, state, upsampler=False)(x, t, **given)
    assert (output - wanted).abs().max() <= 1e-5


WORDS = shlex.split(
    """--image_size 16 --num_channels 32 --channel_mult 1,2 --txt 1 --char_level 0 --txt_dim 64
    --attention_resolutions 8 --txt_resolutions 8 --cross_attn_q_t_emb 1 --txt_output_layers_only 1"""
)


def word_network(newline: int) -> tuple[Tensor, ForkNetwork, dict[str, Tensor]]:
    """What the fork computes of tokens of a file, with two lines; the network, its inputs."""
    reference = ForkNetwork(parse_fork_flags(WORDS, "image_train").values, False, None, 500, newline)
    given = {
        "x": torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)),
        "timesteps": torch.tensor([5]),
        "txt": torch.tensor([[0, 499, 41, 180, 6, 305, 41, 1]]),
    }
    with torch.no_grad():
        return reference.run(given["x"], given["timesteps"], txt=given["txt"]), reference, given


def output(reference: ForkNetwork, given: dict[str, Tensor], line: list[str] = WORDS) -> Tensor:
    with torch.no_grad():
        return network_from_fork(line, reference.state, upsampler=False)(**given)  # type: ignore[no-any-return]


def tokenizer_file(folder: Path, newline: str = "\n", n: int = 499, kind: str = "BPE") -> None:
    vocab: Any = {newline if i == 41 else f"t{i}": i for i in range(n)}
    if kind == "Unigram":
        vocab = [[token, -1.0] for token in vocab]
    tree = {"added_tokens": [{"id": n, "content": "<mask>"}], "model": {"type": kind, "vocab": vocab}}
    (folder / "tokenizer_file").write_text(json.dumps(tree))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_tokens_of_a_file_have_as_many_rows_as_the_weights(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted, reference, given = word_network(newline=6)
    assert (output(reference, given) - wanted).abs().max() <= 1e-5
    assert "which of the 500 tokens ends a line is not known and taken to be 6" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"token_embedding.weight \(500, 64\), not \(105, 64\)"):
        output(reference, given, [*WORDS, "--char_level", "1"])


@pytest.mark.parametrize("kind", ["BPE", "Unigram"])
def test_a_tokenizer_file_says_which_token_ends_a_line(
    place: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    wanted, reference, given = word_network(newline=41)
    assert (output(reference, given) - wanted).abs().max() > 1e-4
    capsys.readouterr()
    tokenizer_file(place, kind=kind)
    assert (output(reference, given) - wanted).abs().max() <= 1e-5
    assert capsys.readouterr().err == ""


def test_a_tokenizer_file_that_does_not_go_with_the_weights(place: Path) -> None:
    _, reference, given = word_network(newline=41)
    (place / "tokenizer_file").write_text("")
    with pytest.raises(InputError, match="tokenizer_file cannot be read as tokenizers JSON: Expecting value"):
        output(reference, given)
    for content in ("[1]", "{}", '{"model": {"vocab": 3}}', '{"model": {"vocab": [1]}}'):
        (place / "tokenizer_file").write_text(content)
        with pytest.raises(InputError, match="no tokenizers JSON"):
            output(reference, given)
    tokenizer_file(place, n=300)
    with pytest.raises(InputError, match="has 301 tokens, and the fork's weights have 500"):
        output(reference, given)
    tokenizer_file(place, newline="x")
    with pytest.raises(InputError, match="no token for the end of a line"):
        output(reference, given)


@pytest.mark.parametrize(("width", "heads"), [(32, 4), (64, 4), (96, 4), (128, 2), (192, 3), (768, 12)])
def test_a_towers_heads_have_the_64_channels_of_clips(width: int, heads: int) -> None:
    blocks = {f"clipmod.transformer.resblocks.{n}.ln_1.weight": torch.zeros(width) for n in ("0", "1", "x")}
    tables = {"clipmod.token_embedding.weight": 10, "clipmod.positional_embedding": 77}
    state = blocks | {name: torch.zeros(rows, width) for name, rows in tables.items()}
    tower = tower_of(state)
    assert tower is not None and (tower.width, tower.heads, tower.layers) == (width, heads, 2)
    with pytest.raises(InputError, match=r"the fork's caption tower\.layers: .* less than or equal to 256"):
        tower_of({**state, "clipmod.transformer.resblocks.99999.ln_1.weight": torch.zeros(width)})


def test_refused_parts_of_the_network_are_refused_by_name() -> None:
    for argv in ("--bread_adapter_at_ds 2", "--expand_timestep_base_dim 96", "--rgb_adapter 1"):
        with pytest.raises(InputError, match=argv.split()[0]):
            network_from_fork(argv.split(), {}, upsampler=False)
