"""The fork's state dicts -> ours: where each of its tensors goes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from torch import Tensor

from datatools.console import plain
from datatools.errors import InputError
from txtdiff.model.caption_encoder import tower_size
from txtdiff.model.config import ModelConfig
from txtdiff.model.layout import Stage, plan_network
from txtdiff.model.unet import UNet

__all__ = ["convert_state", "our_names", "rename"]

# Derived buffers, which some of its files hold and others do not, and parts of CLIP that it never uses.
_BUFFER = re.compile(r".*(\.freqs|\.inv_freq|attn\.fake_proj_weight)$")
_DERIVED = re.compile(rf"{_BUFFER.pattern}|clipmod\.(text_projection|logit_scale)$")

_OUTER = [
    (r"time_embed\.", "time_embedding."),
    (r"time_embed_noise_cond\.", "noise_embedding."),
    (r"label_emb\.", "class_embedding."),
    (r"capt_embed\.", "pooled_caption."),
    (r"tgt_pos_embs\.(\d+)\.weights_0", r"positions.\1.rows"),
    (r"tgt_pos_embs\.(\d+)\.weights_1", r"positions.\1.columns"),
    (r"input_blocks\.0\.0\.", "stem."),
    (r"out\.0\.", "head_norm."),
    (r"out\.2\.", "head."),
    (r"mono_to_rgb\.linear_mean\.", "grey_adapter.rgb."),
    (r"rgb_to_mono\.linear_mean\.", "grey_adapter.grey_mean."),
    (r"rgb_to_mono\.linear_var\.", "grey_adapter.grey_variance."),
    (r"capt_ln_final\.", "caption_encoder.norm."),
    (r"clipmod\.(token_embedding|positional_embedding|transformer)", r"caption_encoder.\1"),
    (r"text_encoder\.token_emb\.", "text_encoder.token_embedding."),
    (r"text_encoder\.pos_emb\.emb\.", "text_encoder.position_embedding."),
    (r"text_encoder\.line_emb\.emb\.", "text_encoder.line_embedding."),
    (r"text_encoder\.time_embed\.1\.", "text_encoder.time_projection."),
    (r"text_encoder\.model\.rel_pos\.relative_attention_bias\.", "text_encoder.relative_bias."),
    (r"text_encoder\.model\.layers\.(\d+)\.", r"text_encoder.layers.\1."),
]
"""At the beginning of a name, once the stages are renamed."""

_TEXT_ENCODER_LAYER = [
    (r"^0\.(0\.)?g$", "norm.g"),
    (r"^1\.g$", "gain.gain"),
    (r"^1\.(fn\.)?", "block."),
    (r"\.to_(q|k|v|out)\.", r".\1."),
]

_INNER = [
    # residual blocks
    (r"\.in_layers\.0\.", ".norm_in."),
    (r"\.in_layers\.2\.", ".conv_in."),
    (r"\.emb_layers\.1\.", ".modulation."),
    (r"\.out_layers\.0\.", ".norm_out."),
    (r"\.out_layers\.3\.", ".conv_out."),
    (r"\.skip_connection\.", ".skip."),
    (r"\.op\.", ".conv."),
    # self-attention
    (r"\.proj_out\.", ".out."),
    (r"\.encoder_kv\.", ".caption_kv."),
    # attention to the text
    (r"\.weave_attn\.image_to_text_layers\.0\.tgt_ln\.", ".to_text.text_norm."),
    (r"\.weave_attn\.image_to_text_layers\.0\.src_ln\.", ".to_text.image_norm."),
    (r"\.weave_attn\.image_to_text_layers\.0\.", ".to_text."),
    (r"\.weave_attn\.text_to_image_layers\.0\.", ".cross_attn."),
    (r"\.cross_attn\.post_txt_image_attn\.", ".self_attention."),
    (r"\.cross_attn\.tgt_ln\.(weight|bias)$", r".to_image.image_norm.\1"),
    (r"\.cross_attn\.tgt_ln\.", ".to_image.image_norm."),
    (r"\.cross_attn\.src_ln\.", ".to_image.text_norm."),
    (r"\.cross_attn\.", ".to_image."),
    (r"\.normalization\.", ".norm."),
    (r"\.attn\.out_proj\.", ".attention.out."),
    (r"\.attn\.", ".attention."),
    (r"\.gain$", ".gain.gain"),
    (r"\.gain_ff$", ".feed_forward.gain.gain"),
    (r"\.ff_ln\.", ".feed_forward.norm."),
    (r"\.ff\.g$", ".feed_forward.rezero.gain"),
    (r"\.ff\.(fn\.)?", ".feed_forward.mlp."),
]
"""Anywhere in the name of a tensor of a stage, one after the other."""

_FEED_FORWARD = [(r"\.net\.0\.(0|proj)\.", ".inner."), (r"\.net\.3\.", ".outer.")]


def convert_state(
    state: Mapping[str, Tensor], numbering: ModelConfig, network: UNet, kept: Collection[str] = ()
) -> dict[str, Tensor]:
    """The fork's state dict as ours.

    Args:
        state: its tensors by name; derived buffers may be there or not.
        numbering: settings by which its layers are numbered (`numbering_config`).
        network: the network that they are for.
        kept: names of ours that may be missing, because the network has them from elsewhere.

    Returns:
        Our names -> tensors of our shapes and types.

    Raises:
        InputError: weights that are unknown, missing, or of another shape, all of them named.
    """
    wanted = network.state_dict()
    stages = dict(_stage_names(numbering))
    given: dict[str, Tensor] = {}
    problems: list[str] = []
    for key, tensor in state.items():
        name = rename(key, stages)
        if name in wanted:
            given[name] = tensor.detach()
        elif not _is_idle(key, numbering, network):
            problems.append(f"unknown: {key} {tuple(tensor.shape)}")
    _share_final_norm(given, state, wanted)
    missing = [name for name in wanted if name not in given and name not in kept]
    problems += [f"missing: {name} {tuple(wanted[name].shape)}" for name in missing]
    problems += [
        f"of another shape: {name} {tuple(tensor.shape)}, not {tuple(wanted[name].shape)}"
        for name, tensor in given.items()
        if _squeezed(tensor) != _squeezed(wanted[name])
    ]
    if problems:
        raise _misfit(problems)
    return {name: tensor.reshape(wanted[name].shape).to(wanted[name].dtype) for name, tensor in given.items()}


def our_names(keys: Iterable[str], numbering: ModelConfig) -> dict[str, str]:
    """The fork's name -> ours; derived buffers are left out, names that are nobody's stay as they are."""
    stages = dict(_stage_names(numbering))
    return {key: rename(key, stages) for key in keys if not _BUFFER.fullmatch(key)}


def _misfit(problems: list[str]) -> InputError:
    lines = "\n".join(f"  {plain(problem)}" for problem in problems)
    return InputError(
        f"the fork's weights do not fit the network of these flags ({len(problems)} tensors):\n{lines}",
        "Give the flags (or the config.json) that these weights were trained with.",
    )


def rename(key: str, stages: Mapping[str, str]) -> str:
    """Our name of one of the fork's tensors; `stages` maps the beginnings of the names of stage tensors."""
    stage = re.match(r"((input|output)_blocks\.\d+|middle_block)\.\d+\.", key)
    if stage is not None and stage.group() in stages:
        return _replace(stages[stage.group()] + key[stage.end() :], [*_INNER, *_FEED_FORWARD])
    name = _replace_start(key, _OUTER)
    layer = re.match(r"text_encoder\.layers\.\d+\.", name)
    if layer is None:
        return name
    return layer.group() + _replace(name[layer.end() :], [*_TEXT_ENCODER_LAYER, *_FEED_FORWARD])


def _stage_names(numbering: ModelConfig) -> Iterator[tuple[str, str]]:
    """Beginnings of the names of stage tensors: the fork's, which count layers, and ours, which name them."""
    plan = plan_network(numbering)
    numbered: list[tuple[str, str, Stage]] = [("middle_block", "middle", plan.middle)]
    # Its first input block is our stem.
    numbered += [(f"input_blocks.{i + 1}", f"down.{i}", stage) for i, stage in enumerate(plan.down)]
    numbered += [(f"output_blocks.{i}", f"up.{i}", stage) for i, stage in enumerate(plan.up)]
    for theirs, ours, stage in numbered:
        for n, slot in enumerate(stage.slots):
            yield f"{theirs}.{n}.", f"{ours}.{slot}."


def _replace(name: str, rules: list[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _replace_start(name: str, rules: list[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        match = re.match(pattern, name)
        if match is not None:
            return match.expand(replacement) + name[match.end() :]
    return name


def _is_idle(key: str, numbering: ModelConfig, network: UNet) -> bool:
    """Whether the fork stores this tensor for a part without influence on its network's output."""
    if _DERIVED.fullmatch(key):
        return True
    if key.startswith(("text_encoder.", "tgt_pos_embs.")):
        return numbering.text is not None and network.text_encoder is None
    if not key.startswith(("clipmod.", "capt_ln_final.")) or numbering.captions is None:
        return False
    if network.config.captions is None:
        return True
    last = f"clipmod.transformer.resblocks.{tower_size(network.config.captions).layers - 1}."
    skipped = network.config.captions.layer == "penultimate" and key.startswith(last)
    return skipped or key.startswith(("clipmod.ln_final.", "capt_ln_final."))


def _share_final_norm(
    given: dict[str, Tensor], state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> None:
    """Without `clip_use_penultimate_layer` the caption's norm is CLIP's own, under one name or both."""
    for part in ("weight", "bias"):
        name, shared = f"caption_encoder.norm.{part}", f"clipmod.ln_final.{part}"
        if name in wanted and name not in given and shared in state:
            given[name] = state[shared].detach()


def _squeezed(tensor: Tensor) -> tuple[int, ...]:
    """Shape without dimensions of 1: the fork keeps linear layers as convolutions of width 1."""
    return tuple(n for n in tensor.shape if n != 1)
