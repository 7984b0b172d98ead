"""Flags of the fork that do nothing because of another flag."""

from __future__ import annotations

from collections.abc import Iterator

from txtdiff.fork.parse import FLAGS, ForkFlags

__all__ = ["idle_flags"]

_OF_TEXT = ("txt_", "cross_attn_", "weave_", "post_txt_")
_WITHOUT_TEXT = {
    "max_seq_len", "char_level", "text_lr", "gain_lr", "safebox_path", "px_scales_path",
    "use_random_safebox_for_empty_string",
}  # fmt: skip
_OF_CAPTIONS = {
    "clipname", "freeze_capt_encoder", "clip_use_penultimate_layer", "xattn_capt", "weave_capt", "capt_lr",
    "glide_style_capt_attn", "glide_style_capt_emb", "glide_style_capt_emb_nonlin",
    "glide_style_capt_emb_init_scale", "capt_path", "capt_pdrop",
}  # fmt: skip
_OF_WEAVE_FF = {
    "weave_ff_rezero", "weave_ff_force_prenorm", "weave_ff_mult", "weave_ff_glu", "weave_use_ff_gain",
}  # fmt: skip


def idle_flags(flags: ForkFlags) -> dict[str, str]:
    """Name -> reason, for flags without effect in this combination."""
    reasons: dict[str, str] = {}
    for names, reason in _idle_groups(flags):
        for name in names:
            reasons.setdefault(name, reason)
    return reasons


def _idle_groups(flags: ForkFlags) -> Iterator[tuple[set[str], str]]:
    if not flags.on("txt"):
        text = {flag.name for flag in FLAGS if flag.name.startswith(_OF_TEXT)}
        yield text | _WITHOUT_TEXT, "txt is 0"
    yield from _idle_in_attention(flags)
    yield from _idle_in_data(flags)
    yield from _idle_in_training(flags)


def _idle_in_attention(flags: ForkFlags) -> Iterator[tuple[set[str], str]]:
    if not flags.on("using_capt"):
        # Which pictures have a caption is asked of the file even so.
        used = {"capt_path"} if flags.on("require_capts") else set()
        yield _OF_CAPTIONS - used, "using_capt is 0"
    if flags.on("glide_style_capt_attn"):
        yield {"xattn_capt", "weave_capt"}, "glide_style_capt_attn is 1"
    if not flags.on("glide_style_capt_emb"):
        yield {"glide_style_capt_emb_nonlin", "glide_style_capt_emb_init_scale"}, "glide_style_capt_emb is 0"
    if not flags.on("weave_attn"):
        weave = {flag.name for flag in FLAGS if flag.name.startswith("weave_")}
        yield weave - {"weave_attn"}, "weave_attn is 0"
    if not flags.on("weave_use_ff"):
        yield _OF_WEAVE_FF, "weave_use_ff is 0"
    if not flags.on("no_attn"):
        yield {"no_attn_substitute_resblock"}, "no_attn is 0"
    if not flags.on("cross_attn_rezero"):
        yield {"cross_attn_rezero_keeps_prenorm"}, "cross_attn_rezero is 0"
    if flags.text("silu_impl") == "fused":
        yield {"txt_groupnorm_1group"}, "silu_impl fused always has 32 groups"


def _idle_in_data(flags: ForkFlags) -> Iterator[tuple[set[str], str]]:
    if not flags.on("class_cond"):
        yield {"class_map_path", "class_ix_unk", "class_ix_drop", "class_pdrop"}, "class_cond is 0"
    elif not flags.text("class_map_path"):
        yield {"class_ix_unk"}, "there is no class_map_path"
    if flags.number("crop_prob") <= 0:
        yield {"crop_min_scale", "crop_max_scale", "safebox_path"}, "crop_prob is 0"
    if not flags.text("safebox_path"):
        yield {"use_random_safebox_for_empty_string"}, "there is no safebox_path"
    if flags.on("use_random_safebox_for_empty_string"):
        yield {"crop_prob_es", "crop_min_scale_es", "crop_max_scale_es"}, "random safeboxes are on"
    if not flags.on("use_special_crop_for_empty_string"):
        own_crop = {"crop_prob_es", "crop_min_scale_es", "crop_max_scale_es"}
        yield own_crop, "use_special_crop_for_empty_string is 0"
    if flags.upsampler:
        if flags.number("blur_prob") <= 0:
            yield {"blur_sigma_min", "blur_sigma_max", "blur_width"}, "blur_prob is 0"
        if not flags.on("noise_cond"):
            noise = {"noise_cond_schedule", "noise_cond_steps", "noise_cond_max_step"}
            yield noise, "noise_cond is 0"
        if flags.on("txt"):
            yield {"use_txt_in_dataload"}, "texts are read whenever the network has text"


def _idle_in_training(flags: ForkFlags) -> Iterator[tuple[set[str], str]]:
    if flags.whole("perf_num_workers") <= 0:
        yield {"perf_prefetch_factor"}, "perf_num_workers is 0"
    if flags.on("use_amp"):
        yield {"use_fp16"}, "use_amp is 1"
    elif not flags.on("use_fp16"):
        yield {"lg_loss_scale", "fp16_scale_growth"}, "neither use_amp nor use_fp16 is 1"
    if not flags.on("use_amp"):
        yield {"use_bf16"}, "use_amp is 0"
    elif flags.on("use_bf16"):
        yield {"lg_loss_scale", "fp16_scale_growth"}, "bf16 needs no loss scale"
    if flags.on("freeze_capt_encoder"):
        yield {"capt_lr"}, "freeze_capt_encoder is 1"
    if flags.whole("lr_warmup_steps") <= 0:
        yield {"lr_warmup_shift"}, "lr_warmup_steps is 0"
    if flags.on("learn_sigma"):
        yield {"sigma_small"}, "learn_sigma is 1"
    else:
        yield {"rescale_learned_sigmas", "vb_loss_ratio"}, "learn_sigma is 0"
