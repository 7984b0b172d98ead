"""The fork's flags of the network -> our settings of it."""

from __future__ import annotations

import math
from typing import Any

from datatools.errors import InputError, suggest
from txtdiff.config_files import unchecked, validated
from txtdiff.fork.parse import ForkFlags
from txtdiff.fork.tokens import Tokens
from txtdiff.model.config import AttentionConfig, ModelConfig, TowerSize
from txtdiff.model.layout import plan_network

__all__ = ["N_CLASSES", "model_config", "numbering_config", "text_flags"]

N_CLASSES = 1000
"""Classes of every network with `class_cond`, however many there are."""

_CHARACTERS = Tokens()

_CHANNEL_MULT = {256: "1,1,2,2,4,4", 64: "1,2,3,4", 32: "1,2,2,2"}

_SILUS = ("torch", "openai", "efficientnet", "fused")

Tree = dict[str, Any]
"""Settings of a group, as a settings file has them."""


def model_config(
    flags: ForkFlags, tower: TowerSize | None = None, tokens: Tokens = _CHARACTERS
) -> ModelConfig:
    """Settings of the network that the fork would build.

    Args:
        flags: a parsed command line.
        tower: sizes of the caption tower, where they are known from a checkpoint.
        tokens: what transcriptions are spelled in, likewise.

    Raises:
        InputError: flags with which the fork's network could not be built or run.
    """
    try:
        config = validated(ModelConfig, _tree(flags, tower, tokens, acting=True), "model")
    except InputError as error:
        raise InputError(f"the fork's flags describe no network: {error.what}") from error
    _refuse_odd_widths(config)
    return config


def numbering_config(flags: ForkFlags, tower: TowerSize | None = None) -> ModelConfig:
    """As `model_config`, with the layers that do nothing still in place: the fork numbers and stores them."""
    return unchecked(ModelConfig, _tree(flags, tower, _CHARACTERS, acting=False))


def _tree(flags: ForkFlags, tower: TowerSize | None, tokens: Tokens, acting: bool) -> Tree:
    _refuse_impossible(flags)
    # The adapter takes grey pictures only: it implies `monochrome`.
    grey = flags.on("monochrome") or flags.on("monochrome_adapter")
    size_px = _size_px(flags)
    has_text = text_flags(flags) if acting else flags.on("txt")
    return {
        "image_size_px": size_px,
        "image_channels": 1 if grey else 3,
        "grey_adapter": flags.on("monochrome_adapter"),
        "predicts_variance": flags.on("learn_sigma"),
        "channels": flags.whole("num_channels"),
        "channel_mult": _channel_mult(flags, size_px),
        "n_res_blocks": flags.whole("num_res_blocks"),
        "resample": "res_block" if flags.on("resblock_updown") else "conv",
        "timestep": "scale_shift" if flags.on("use_scale_shift_norm") else "add",
        "norm_groups": "second_norm_32" if _fused(flags) else "by_width",
        "dropout": flags.number("dropout"),
        "attention": _attention(flags, acting),
        "text": _text(flags, tokens) if has_text else None,
        "captions": _captions(flags, tower, acting),
        "upsampler": _upsampler(flags) if flags.upsampler else None,
        "n_classes": N_CLASSES if flags.on("class_cond") else None,
        "recompute_resolutions_px": _recompute(flags, size_px),
    }


def text_flags(flags: ForkFlags) -> bool:
    """Whether the transcription acts on the network: asked for, and at a resolution that the network has."""
    if not flags.on("txt") or flags.on("no_attn"):
        return False
    return _has_map_of(flags, _resolutions(flags, "txt_resolutions"))


def _has_map_of(flags: ForkFlags, resolutions_px: tuple[int, ...]) -> bool:
    size_px = _size_px(flags)
    factors = {size_px // resolution for resolution in resolutions_px}
    return any(1 << level in factors for level in range(len(_channel_mult(flags, size_px))))


def _refuse_impossible(flags: ForkFlags) -> None:
    """Combinations with which the fork stops with an error."""
    if flags.text("silu_impl") not in _SILUS:
        raise InputError(f"--silu_impl {flags.text('silu_impl')} is not one of {', '.join(_SILUS)}")
    if not text_flags(flags):
        return
    modulated, layer_norm = flags.on("cross_attn_q_t_emb"), flags.on("txt_avoid_groupnorm")
    bare = flags.on("cross_attn_rezero") and not flags.on("cross_attn_rezero_keeps_prenorm")
    caption_layers = flags.on("using_capt") and "cross_attention" in _joins(flags, acting=True)
    impossible = {
        "txt_avoid_groupnorm 1 with cross_attn_q_t_emb 1": modulated and layer_norm,
        "weave_attn 1 with cross_attn_q_t_emb 0": flags.on("weave_attn") and not modulated,
        "txt 1 with cross_attn_q_t_emb 0, txt_avoid_groupnorm 0 and txt_groupnorm_1group 1": (
            not (modulated or layer_norm or bare) and flags.on("txt_groupnorm_1group")
        ),
        "silu_impl fused with text or caption attention that has no norm": (
            _fused(flags) and modulated and (bare or caption_layers)
        ),
    }
    for combination, given in impossible.items():
        if given:
            raise InputError(f"the fork could not run {combination}", "Change one of these flags.")


def _refuse_odd_widths(config: ModelConfig) -> None:
    """Widths that its group norms do not divide. Ours would take fewer groups, and compute something else."""
    plan = plan_network(config)
    fused = config.norm_groups == "second_norm_32" and config.timestep == "scale_shift"
    for stage in (*plan.down, plan.middle, *plan.up):
        for width in (stage.in_channels, stage.out_channels):
            groups = 24 if width % 72 == 0 and not (fused and width == stage.out_channels) else 32
            if width % groups:
                raise InputError(
                    f"the fork could not run a network of {width} channels: its norms have {groups} groups",
                    "Change --num_channels or --channel_mult.",
                )


def _size_px(flags: ForkFlags) -> int:
    return flags.whole("large_size" if flags.upsampler else "image_size")


def _fused(flags: ForkFlags) -> bool:
    return flags.text("silu_impl") == "fused"


def _attention_kind(flags: ForkFlags) -> str:
    if not flags.on("no_attn"):
        return "self_attention"
    return "res_block" if flags.on("no_attn_substitute_resblock") else "none"


def _numbers(flags: ForkFlags, name: str) -> list[float]:
    try:
        numbers = [float(part) for part in flags.text(name).split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(map(math.isfinite, numbers)):
        raise InputError(f"--{name} {flags.text(name)} is not a list of numbers with commas")
    return numbers


def _resolutions(flags: ForkFlags, name: str) -> tuple[int, ...]:
    numbers = _numbers(flags, name)
    if any(number != int(number) or number < 1 for number in numbers):
        raise InputError(f"--{name} {flags.text(name)}: widths of feature maps are whole numbers above 0")
    return tuple(int(number) for number in numbers)


def _channel_mult(flags: ForkFlags, size_px: int) -> tuple[float, ...]:
    if flags.text("channel_mult"):
        return tuple(_numbers(flags, "channel_mult"))
    if size_px not in _CHANNEL_MULT:
        known = ", ".join(map(str, _CHANNEL_MULT))
        raise InputError(
            f"the fork has no default channel_mult for pictures of {size_px} px (only {known})",
            "Give --channel_mult.",
        )
    return tuple(float(part) for part in _CHANNEL_MULT[size_px].split(","))


def _or_none(value: int) -> int | None:
    return value if value > 0 else None


def _attention(flags: ForkFlags, acting: bool) -> Tree:
    resolutions = _resolutions(flags, "attention_resolutions")
    if acting and resolutions != AttentionConfig().resolutions_px and not _has_map_of(flags, resolutions):
        resolutions = ()  # ours would be refused as one without effect
    per_head_up = flags.whole("channels_per_head_upsample")
    heads_up = flags.whole("num_heads_upsample")
    return {
        "kind": _attention_kind(flags),
        "resolutions_px": resolutions,
        "heads": flags.whole("num_heads"),
        "heads_up": None if heads_up == -1 else heads_up,
        "channels_per_head": _or_none(flags.whole("channels_per_head")),
        "channels_per_head_up": "same" if per_head_up == -1 else _or_none(per_head_up),
    }


def _text(flags: ForkFlags, tokens: Tokens) -> Tree:
    return {
        "tokenizer": tokens.tokenizer,
        "vocab_size": tokens.vocab_size,
        "newline_id": tokens.newline_id,
        "max_length": flags.whole("max_seq_len"),
        "width": flags.whole("txt_dim"),
        "depth": flags.whole("txt_depth"),
        "norm": "rezero" if flags.on("txt_rezero") else "scale_norm",
        "t5_positions": flags.on("txt_t5"),
        "rotary_positions": flags.on("txt_rotary"),
        "feed_forward": {"mult": flags.whole("txt_ff_mult"), "glu": flags.on("txt_ff_glu")},
        "attention": _text_attention(flags),
    }


def _text_attention(flags: ForkFlags) -> Tree:
    per_head = flags.whole("cross_attn_channels_per_head")
    rezero = flags.on("cross_attn_rezero")
    image_norm = "group_norm"
    if flags.on("cross_attn_q_t_emb"):
        image_norm = "modulated"
    elif flags.on("txt_avoid_groupnorm"):
        image_norm = "layer_norm"
    gain = "rezero" if rezero else "exponential"
    return {
        "weave": _weave(flags) if flags.on("weave_attn") else None,
        "resolutions_px": _resolutions(flags, "txt_resolutions"),
        "where": "up" if flags.on("txt_output_layers_only") else "down_and_up",
        "before_self_attention": flags.on("txt_attn_before_attn"),
        "heads": flags.whole("txt_dim") // per_head if per_head > 0 else flags.whole("num_heads"),
        "image_norm": image_norm,
        "modulated_norm": _modulated_norm(flags),
        "prenorm": not rezero or flags.on("cross_attn_rezero_keeps_prenorm"),
        "gain": "layer_scale" if flags.on("cross_attn_use_layerscale") else gain,
        "initial_gain": flags.number("cross_attn_init_gain"),
        "gain_scale": flags.number("cross_attn_gain_scale"),
        "orthogonal_init": flags.on("cross_attn_orth_init"),
        "image_self_attention": flags.text("post_txt_image_attn"),
    }


def _modulated_norm(flags: ForkFlags) -> str:
    if _fused(flags):
        return "groups_32_silu"
    return "one_group" if flags.on("txt_groupnorm_1group") else "groups_32"


def _weave(flags: ForkFlags) -> Tree:
    rezero = flags.on("weave_ff_rezero")
    feed_forward = {"mult": flags.whole("weave_ff_mult"), "glu": flags.on("weave_ff_glu")}
    return {
        "qkv_width": "text" if flags.on("weave_qkv_dim_always_text") else "image",
        "feed_forward": feed_forward if flags.on("weave_use_ff") else None,
        "feed_forward_gain": flags.on("weave_use_ff_gain"),
        "feed_forward_rezero": rezero,
        "feed_forward_norm": flags.on("weave_ff_force_prenorm") or not rezero,
    }


def _joins(flags: ForkFlags, acting: bool) -> tuple[str, ...]:
    joins: list[str] = []
    if flags.on("glide_style_capt_emb"):
        joins.append("pooled")
    if flags.on("glide_style_capt_attn"):
        if not (acting and flags.on("no_attn")):
            joins.append("self_attention")
    elif flags.on("xattn_capt") and (text_flags(flags) if acting else flags.on("txt")):
        joins.append("cross_attention")
    return tuple(joins)


def _captions(flags: ForkFlags, tower: TowerSize | None, acting: bool) -> Tree | None:
    joins = _joins(flags, acting)
    if not flags.on("using_capt") or (acting and not joins):
        return None
    return {
        "tower": _tower_name(flags),
        "size": tower,
        "frozen": flags.on("freeze_capt_encoder"),
        "layer": "penultimate" if flags.on("clip_use_penultimate_layer") else "final",
        "join": joins,
        "pooled_hidden_layer": flags.on("glide_style_capt_emb_nonlin"),
        "pooled_initial_scale": flags.number("glide_style_capt_emb_init_scale"),
        "weave": flags.on("weave_capt") and flags.on("weave_attn"),
    }


def _tower_name(flags: ForkFlags) -> str:
    """The tower as open_clip calls it. All of OpenAI's use QuickGELU, which is part of open_clip's name."""
    from txtdiff.model.caption_encoder import OPENAI_NAMES  # with torch, which most lines need not wait for

    name = flags.text("clipname")
    if name not in OPENAI_NAMES:
        raise InputError(f"--clipname {name} is not one of OpenAI's models", suggest(name, OPENAI_NAMES))
    return f"{OPENAI_NAMES[name]}-quickgelu"


def _upsampler(flags: ForkFlags) -> Tree:
    grey_input = flags.on("colorize") or flags.on("monochrome")
    return {
        "small_size_px": flags.whole("small_size"),
        "low_res_channels": 1 if grey_input else 3,
        "interpolation": flags.text("up_interp_mode"),
        "noise_conditioning": flags.on("noise_cond"),
    }


def _recompute(flags: ForkFlags, size_px: int) -> tuple[int, ...]:
    """Feature maps whose blocks are computed twice. Asked for one half of the network, both halves are."""
    maps = [size_px >> level for level in range(len(_channel_mult(flags, size_px)))]
    halves = ("use_checkpoint", "use_checkpoint_up", "use_checkpoint_middle", "use_checkpoint_down")
    if any(flags.on(name) for name in halves):
        return tuple(maps)
    return tuple(width for width in maps if width <= flags.whole("use_checkpoint_below_res"))
