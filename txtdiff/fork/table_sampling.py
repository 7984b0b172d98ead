"""The fork's flags of its sampling scripts alone: name, type, default, scripts, what becomes of them."""

from __future__ import annotations

from txtdiff.fork.flags import IS, IS_SS, SS, Flag, NoEffect, Only

__all__ = ["SAMPLING_FLAGS"]

SAMPLING_FLAGS = (
    Flag("batch_size", int, 16, IS_SS),
    Flag("clip_denoised", bool, True, IS_SS),
    Flag("num_samples", int, 10000, IS_SS),
    Flag("use_ddim", bool, False, IS_SS),
    Flag("model_path", str, "", IS_SS),
    Flag("text_input", str, "", IS),
    Flag(
        "text_dir",
        str,
        "",
        IS,
        Only("prompts are not read from a folder", "--txt-file, or the suites of txtdiff-eval"),
    ),
    Flag("text_dir_offset", int, 0, IS, NoEffect("it acts with text_dir only, which is refused")),
    Flag("seed", int, -1, IS_SS),
    Flag("clf_free_guidance", bool, False, IS_SS),
    Flag("guidance_scale", float, 0.0, IS_SS),
    Flag("txt_drop_string", str, "<mask><mask><mask><mask>", IS_SS),
    Flag("capt_input", str, "", IS),
    Flag("base_samples", str, "", SS),
    Flag("base_data_dir", str, "", SS),
    Flag("base_data_offset", int, 0, SS),
    Flag("txt_override", str, "", SS),
)
