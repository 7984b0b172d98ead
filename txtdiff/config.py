"""The whole of a run's settings: one frozen tree, from which flags, files and their documentation follow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from pydantic import ValidationInfo, model_validator

from datatools.synth import SIZES_PX
from txtdiff.data.config import DataConfig, LowResConfig
from txtdiff.diffusion.config import DiffusionConfig
from txtdiff.model.config import VOCAB_SIZES, ModelConfig
from txtdiff.model.layout import listed_levels, plan_network
from txtdiff.settings import Settings
from txtdiff.training.config import AveragingConfig, OptimConfig, RunSettings

__all__ = ["STORED", "RunConfig"]

STORED = "stored"
"""Context in which the settings of a checkpoint are validated: what does nothing is no error there."""


class RunConfig(Settings):
    """Everything that decides what a training run does."""

    model: ModelConfig = ModelConfig()
    """The network."""
    diffusion: DiffusionConfig = DiffusionConfig()
    """The process it is trained for."""
    data: DataConfig = DataConfig()
    """The pictures."""
    optim: OptimConfig = OptimConfig()
    """The optimiser."""
    averaging: AveragingConfig = AveragingConfig()
    """The averages of the weights."""
    run: RunSettings = RunSettings()
    """Length, seed, place and what is written when."""

    @model_validator(mode="after")
    def _groups_agree(self, info: ValidationInfo) -> Self:
        problems = [*_contradictions(self)]
        if info.context != STORED:
            problems += _without_effect(self)
        if problems:
            raise ValueError("; ".join(problems))
        return self


def _contradictions(config: RunConfig) -> Iterator[str]:
    """Settings of two groups that cannot both hold."""
    model, diffusion, data = config.model, config.diffusion, config.data
    if model.predicts_variance != (diffusion.variance == "learned_range"):
        yield (
            f"model.predicts_variance = {str(model.predicts_variance).lower()} does not go with "
            f"diffusion.variance = '{diffusion.variance}'"
        )
    noise_is_told = model.upsampler is not None and model.upsampler.noise_conditioning
    if noise_is_told != (diffusion.low_res_noise is not None):
        yield "diffusion.low_res_noise and model.upsampler.noise_conditioning belong together: both or none"
    if model.upsampler is not None and model.upsampler.small_size_px >= model.image_size_px:
        yield "model.upsampler.small_size_px must be below model.image_size_px"
    if data.crop.min_area > data.crop.max_area:
        yield "data.crop.min_area is above data.crop.max_area"
    if data.no_text.min_area > data.no_text.max_area:
        yield "data.no_text.min_area is above data.no_text.max_area"
    if data.low_res.blur_kernel_px % 2 == 0:
        yield "data.low_res.blur_kernel_px must be odd"
    yield from _small_pictures(model, data.low_res)
    given = [f"data.{name}" for name in ("catalog", "folder", "synth") if getattr(data, name) is not None]
    if len(given) > 1:
        yield f"{' and '.join(given)} are given; training reads one of them"
    if data.synth is not None and model.image_size_px < SIZES_PX[0] and data.synth.drawn_px is None:
        yield f"synthetic pictures have at least {SIZES_PX[0]} px: set data.synth.drawn_px to be shrunk"
    if data.synth is not None and model.n_classes is not None:
        yield "data.synth has no classes, and model.n_classes asks for them"
    if config.run.sharding == "full" and config.optim.precision == "fp16":
        yield 'run.sharding = "full" does not go with optim.precision = "fp16"; use "bf16"'
    optim = config.optim
    if config.run.compile == "graph" and (optim.microbatch or optim.precision == "fp16" or model.dropout):
        yield 'run.compile = "graph" goes with neither optim.microbatch nor "fp16" nor model.dropout'
    if model.text is not None and model.text.tokenizer not in VOCAB_SIZES:
        yield 'model.text.tokenizer: training knows "char" and "clip" only'


def _small_pictures(model: ModelConfig, low_res: LowResConfig) -> Iterator[str]:
    """How small pictures are made against their size."""
    if model.upsampler is None:
        return
    small_px = model.upsampler.small_size_px
    if low_res.blur_probability and low_res.blur_kernel_px >= 2 * small_px:
        yield f"data.low_res.blur_kernel_px must be below twice the small picture's edge, {2 * small_px}"


def _without_effect(config: RunConfig) -> Iterator[str]:
    """Settings that differ from their default and cannot act, each with the reason."""
    data, optim, model = config.data, config.optim, config.model
    yield from _unread(model)
    if not data.crop.probability:
        yield from _changed(
            data.crop, "data.crop", "data.crop.probability is 0", "min_area", "max_area", "around"
        )
    if data.no_text.crop != "own":
        why = 'data.no_text.crop is not "own"'
        yield from _changed(data.no_text, "data.no_text", why, "probability", "min_area", "max_area")
    if data.no_text.crop == "borrowed_safebox" and (
        not data.crop.probability or data.crop.around == "anywhere"
    ):
        yield 'data.no_text.crop = "borrowed_safebox" needs data.crop.probability > 0 and around = "safebox"'
    if model.text is None:
        yield from _changed(data, "data", "model.text is none", "drop_txt", "square")
        yield from _changed(optim, "optim", "model.text is none", "text_lr", "gain_lr")
    if model.captions is None:
        yield from _changed(data, "data", "model.captions is none", "drop_capt")
    if model.captions is None or model.captions.frozen:
        yield from _changed(optim, "optim", "no caption tower is trained", "caption_lr")
    if model.n_classes is None:
        yield from _changed(data, "data", "model.n_classes is none", "class_name", "class_map", "drop_class")
    if data.class_map is None:
        yield from _changed(data, "data", "data.class_map is none", "class_unknown")
    if model.text is None and model.captions is None:
        yield from _changed(data, "data", "the model takes neither text nor captions", "drop_all")
    if model.upsampler is None and data.low_res != type(data.low_res)():
        yield "data.low_res has no effect: model.upsampler is none"
    if not config.averaging.lengths:
        yield from _changed(
            config.averaging, "averaging", "averaging.lengths is empty", "snapshot_every_images"
        )
    if not data.low_res.blur_probability:
        names = ("blur_sigma_min_px", "blur_sigma_max_px", "blur_kernel_px")
        yield from _changed(data.low_res, "data.low_res", "its blur_probability is 0", *names)
    if data.synth is not None:
        why = "data.synth makes pictures that need none of it"
        yield from _changed(data, "data", why, "where", "require_captions", "jpeg_decoding")
        yield from _changed(data, "data", why, "min_file_size_bytes", "min_image_size_px")
        if data.no_text.crop == "borrowed_safebox":
            yield 'data.no_text.crop = "borrowed_safebox" has no effect: data.synth lends no safebox'
    if model.text is None or not model.text.names_characters:
        why = "model.text.names_characters is false"
        yield from _changed(config.diffusion, "diffusion", why, "character_weight")
    elif data.synth is None and config.run.init is None:
        yield "model.text.names_characters has no effect: only data.synth knows the places of characters"
    if data.folder is None:
        yield from _changed(data, "data", "data.folder is none", "safeboxes", "px_scales", "captions")
    if not data.workers:
        yield from _changed(data, "data", "data.workers is 0", "prefetch")
    if not optim.warmup_images:
        yield from _changed(optim, "optim", "optim.warmup_images is 0", "warmup_from_image")
    if optim.precision != "fp16":
        why = 'optim.precision is not "fp16"'
        yield from _changed(optim, "optim", why, "loss_scale_log2", "loss_scale_growth_steps")
    if not config.run.grid_pictures:
        yield from _changed(config.run, "run", "run.grid_pictures is 0", "grid_every_images", "grid_steps")


def _unread(model: ModelConfig) -> Iterator[str]:
    """Layers that would stand nowhere in the network."""
    maps = [model.map_size_px >> level for level in range(len(model.channel_mult))]
    why = f"the network has feature maps of {', '.join(map(str, maps))} px only"
    attention, recomputed = model.attention, model.recompute_resolutions_px
    if model.text is not None and attention.kind != "self_attention":
        yield f"model.text has no effect: model.attention.kind = {attention.kind} leaves no text layer"
    elif model.text is not None and not plan_network(model).text_stages:
        yield f"model.text.attention.resolutions_px leaves no text layer: {why}"
    if attention.resolutions_px and not listed_levels(model, attention.resolutions_px):
        yield from _changed(attention, "model.attention", why, "resolutions_px")
    if recomputed and not set(maps) & set(recomputed):
        yield f"model.recompute_resolutions_px has no effect: {why}"


def _changed(group: Settings, path: str, why: str, *names: str) -> Iterator[str]:
    for name in names:
        if getattr(group, name) != type(group).model_fields[name].default:
            yield f"{path}.{name} has no effect: {why}"
