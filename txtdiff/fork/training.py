"""The fork's flags of data, diffusion and training -> our settings, where one flag depends on another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from datatools.errors import InputError
from datatools.home import expand_home
from txtdiff.fork.flags import To
from txtdiff.fork.parse import ForkFlags
from txtdiff.model.config import ModelConfig

__all__ = ["NO_END_IMAGES", "diffusion_settings", "low_res_settings", "nested", "training_settings"]

NO_END_IMAGES = 10**15
"""run.images of a run that the fork would never have ended (lr_anneal_steps 0)."""

Setting = tuple[str, Any]


def training_settings(flags: ForkFlags, model: ModelConfig) -> dict[str, Any]:
    """Settings by dotted path, but for the model and for flags that are settings as they are.

    Raises:
        InputError: values that no run could use.
    """
    groups = (
        _data,
        _classes,
        _crops,
        _low_res,
        _drops,
        _diffusion,
        _loss,
        _rates,
        _precision,
        _averaging,
        _run,
    )
    return dict(_direct(flags)) | {path: value for group in groups for path, value in group(flags, model)}


def diffusion_settings(flags: ForkFlags, model: ModelConfig) -> dict[str, Any]:
    """Settings of the diffusion process alone, nested, for a network that is not trained any further."""
    settings = dict(_direct(flags)) | dict(_diffusion(flags, model)) | dict(_loss(flags, model))
    tree: dict[str, Any] = nested(settings)["diffusion"]
    return tree


def low_res_settings(flags: ForkFlags, model: ModelConfig) -> dict[str, Any]:
    """Settings of how small pictures are made, for sampling from true ones."""
    return {path.removeprefix("data.low_res."): value for path, value in _low_res(flags, model)}


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted path as the tree that a settings file holds."""
    tree: dict[str, Any] = {}
    for path, value in settings.items():
        *groups, name = path.split(".")
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
        branch[name] = str(value) if isinstance(value, Path) else value
    return tree


def _direct(flags: ForkFlags) -> Iterator[Setting]:
    """Flags whose value is a setting's as it is."""
    for flag in flags.rows():
        if isinstance(flag.becomes, To):
            yield flag.becomes.path, flags.values[flag.name]


def _data(flags: ForkFlags, model: ModelConfig) -> Iterator[Setting]:
    if not flags.text("data_dir"):
        raise InputError("the fork's command line: --data_dir is missing", "Give the folder of pictures.")
    yield "data.folder", expand_home(flags.text("data_dir")).absolute()
    if flags.whole("perf_num_workers") > 0:
        yield "data.prefetch", flags.whole("perf_prefetch_factor")
    # Boxes and scales belong to pictures with a .txt file: without text the fork reads none of them.
    if model.text is not None:
        if flags.number("crop_prob") > 0:
            yield from _sidecar(flags, "safebox_path", "data.safeboxes")
        yield from _sidecar(flags, "px_scales_path", "data.px_scales")
    if model.captions is not None or flags.on("require_capts"):
        yield from _sidecar(flags, "capt_path", "data.captions")


def _classes(flags: ForkFlags, model: ModelConfig) -> Iterator[Setting]:
    if model.n_classes is None:
        return
    yield from _sidecar(flags, "class_map_path", "data.class_map")
    if flags.text("class_map_path"):
        yield "data.class_unknown", flags.whole("class_ix_unk")
    yield "data.drop_class", flags.number("class_pdrop")
    if flags.whole("class_ix_drop") != model.n_classes - 1:
        raise InputError(
            f"--class_ix_drop {flags.whole('class_ix_drop')} is refused: the class that stands for none is "
            f"the last one, {model.n_classes - 1}",
            "Leave the flag out, and that class out of the map.",
        )


def _sidecar(flags: ForkFlags, name: str, path: str) -> Iterator[Setting]:
    if not flags.text(name):
        return
    file = expand_home(flags.text(name))
    if not file.is_file():
        # The fork went on without a word, and without the data.
        raise InputError(f"--{name}: there is no file {file}", "Correct the path or leave the flag out.")
    yield path, file.absolute()


def _crops(flags: ForkFlags, model: ModelConfig) -> Iterator[Setting]:
    probability = flags.number("crop_prob")
    boxes = bool(flags.text("safebox_path")) and model.text is not None
    if probability > 0:
        yield "data.crop.probability", probability
        yield "data.crop.min_area", flags.number("crop_min_scale")
        yield "data.crop.max_area", flags.number("crop_max_scale")
        yield "data.crop.around", "safebox" if boxes else "anywhere"
    yield "data.no_text.flip_probability", flags.number("flip_lr_prob_es")
    if flags.on("use_random_safebox_for_empty_string") and boxes and probability > 0:
        yield "data.no_text.crop", "borrowed_safebox"
    elif flags.on("use_special_crop_for_empty_string") and flags.number("crop_prob_es") > 0:
        yield "data.no_text.crop", "own"
        yield "data.no_text.probability", flags.number("crop_prob_es")
        yield "data.no_text.min_area", flags.number("crop_min_scale_es")
        yield "data.no_text.max_area", flags.number("crop_max_scale_es")


def _low_res(flags: ForkFlags, model: ModelConfig) -> Iterator[Setting]:
    if model.upsampler is None:
        return
    smooth, factor = flags.on("antialias"), model.image_size_px / model.upsampler.small_size_px
    if flags.on("bicubic_down"):
        kind = "antialiased_bicubic" if smooth else "bicubic"
    elif smooth:
        kind = "antialiased_bilinear"
    else:
        kind = "area" if factor in {2**k for k in range(12)} else "bilinear"
    yield "data.low_res.filter", kind
    if flags.number("blur_prob") > 0:
        width, small_px = flags.whole("blur_width"), model.upsampler.small_size_px
        if width % 2 == 0 or not 0 < width < 2 * small_px:
            raise InputError(f"--blur_width {width} must be odd and below twice --small_size, {2 * small_px}")
        yield "data.low_res.blur_probability", flags.number("blur_prob")
        yield "data.low_res.blur_sigma_min_px", flags.number("blur_sigma_min")
        yield "data.low_res.blur_sigma_max_px", flags.number("blur_sigma_max")
        yield "data.low_res.blur_kernel_px", width


def _drops(flags: ForkFlags, model: ModelConfig) -> Iterator[Setting]:
    if model.text is not None:
        yield "data.drop_txt", flags.number("txt_pdrop")
    if model.captions is not None:
        yield "data.drop_capt", flags.number("capt_pdrop")
    if model.text is not None or model.captions is not None:
        yield "data.drop_all", flags.number("all_pdrop")


def _diffusion(flags: ForkFlags, model: ModelConfig) -> Iterator[Setting]:
    if flags.text("timestep_respacing"):
        raise InputError(
            "--timestep_respacing is refused in training: a network is trained on the whole schedule",
            "Set diffusion.n_steps, or choose the number of steps when sampling.",
        )
    if model.predicts_variance:
        yield "diffusion.variance", "learned_range"
    else:
        yield "diffusion.variance", "fixed_small" if flags.on("sigma_small") else "fixed_large"
    yield "diffusion.parameterisation", "x0" if flags.on("predict_xstart") else "eps"
    if model.upsampler is not None and model.upsampler.noise_conditioning:
        if flags.script == "super_res_sample":  # which has no flags for it: cosine, 1000 steps, all of them
            yield "diffusion.low_res_noise", {}
            return
        max_step = flags.whole("noise_cond_max_step")
        yield "diffusion.low_res_noise.noise_schedule", flags.text("noise_cond_schedule")
        yield "diffusion.low_res_noise.n_steps", flags.whole("noise_cond_steps")
        yield "diffusion.low_res_noise.max_step", max_step if max_step > 0 else None


def _loss(flags: ForkFlags, model: ModelConfig) -> Iterator[Setting]:
    # In the order in which the fork asks: the first that is set wins.
    losses = {
        "use_snr_plus_one_loss": "snr_plus_one",
        "use_v_loss": "v",
        "use_balanced_loss": "balanced",
        "use_kl": "kl",
    }
    loss = next((ours for name, ours in losses.items() if flags.on(name)), "mse")
    yield "diffusion.loss", loss
    rescaled = flags.on("rescale_learned_sigmas") and loss not in ("v", "kl")
    if rescaled and model.predicts_variance:
        ratio = flags.number("vb_loss_ratio")
        if not 0 < ratio < math.inf:
            raise InputError(f"--vb_loss_ratio {ratio} must lie above 0")
        yield "diffusion.vb_weight", flags.whole("diffusion_steps") / ratio


def _rates(flags: ForkFlags, model: ModelConfig) -> Iterator[Setting]:
    batch_size = flags.whole("batch_size")
    if model.text is not None:
        yield "optim.text_lr", _or_none(flags.number("text_lr"))
        yield "optim.gain_lr", _or_none(flags.number("gain_lr"))
    if model.captions is not None and not model.captions.frozen:
        yield "optim.caption_lr", _or_none(flags.number("capt_lr"))
    warmup = flags.whole("lr_warmup_steps")
    if warmup > 0:
        yield "optim.warmup_images", warmup * batch_size
        yield "optim.warmup_from_image", flags.whole("lr_warmup_shift") * batch_size
    if flags.whole("microbatch") > 0:
        yield "optim.microbatch", flags.whole("microbatch")
    anneal = flags.whole("lr_anneal_steps")
    if anneal > 0:
        yield "optim.anneal_images", anneal * batch_size
    yield "run.images", anneal * batch_size if anneal > 0 else NO_END_IMAGES


def _or_none(rate: float) -> float | None:
    return rate if rate >= 0 else None


def _precision(flags: ForkFlags, model: ModelConfig) -> Iterator[Setting]:
    precision = "fp32"
    if flags.on("use_amp"):
        precision = "bf16" if flags.on("use_bf16") else "fp16"
    elif flags.on("use_fp16"):
        precision = "fp16"
    yield "optim.precision", precision
    if precision == "fp16":
        growth = flags.number("fp16_scale_growth")
        if not 1e-9 <= growth <= 1:
            raise InputError(f"--fp16_scale_growth {growth} must lie above 0 and not above 1")
        yield "optim.loss_scale_log2", flags.whole("lg_loss_scale")
        yield "optim.loss_scale_growth_steps", int(1 / growth)


def _averaging(flags: ForkFlags, model: ModelConfig) -> Iterator[Setting]:
    try:
        rates = tuple(float(rate) for rate in flags.text("ema_rate").split(","))
        starts = {int(step) for step in flags.text("arithmetic_avg_from_step").split(",")}
    except ValueError:
        raise InputError(
            "--ema_rate and --arithmetic_avg_from_step are numbers with commas between"
        ) from None
    if starts != {0} and any(step >= 0 for step in starts):
        raise InputError(
            f"--arithmetic_avg_from_step {flags.text('arithmetic_avg_from_step')} is refused: averages "
            "of a run start with it, all in the same way (in the fork, later ones diverge)",
            "Use 0 (averaging.start = arithmetic) or -1 (exponential) for all rates.",
        )
    yield "averaging.rates", rates
    yield "averaging.start", "arithmetic" if starts == {0} else "exponential"


def _run(flags: ForkFlags, model: ModelConfig) -> Iterator[Setting]:
    batch_size = flags.whole("batch_size")
    yield "run.log_every_images", flags.whole("log_interval") * batch_size
    yield "run.save_every_images", flags.whole("save_interval") * batch_size
    yield "run.save_first_batch", flags.on("save_first_batch")
    yield "run.cudnn", "benchmark" if flags.on("cudnn_benchmark") else "deterministic"
    if flags.on("autosave") and "autosave" in flags.given:
        raise InputError(
            "--autosave 1 is refused: it copied to a bucket of the fork's author",
            "Give --autosave 0, and set run.upload to a folder of yours (gs://…, s3://…).",
        )
