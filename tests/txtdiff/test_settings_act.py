"""Every setting changes something that can be observed: none is dead.

For each setting a value other than the base's; where it acts only in company, the company; where another
setting must change with it, that. What is observed belongs to its group: the network's weights, outputs and
recomputations; losses and sampled pictures; the batches; weights and averages after some steps; the files of
a run.
"""

from __future__ import annotations

import hashlib
import json
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from catalogs import make_pictures, write_catalog
from PIL import Image, ImageDraw
from torch import nn

from txtdiff.cascade import Cascade, Prompt, SamplerSettings, Stage, sample_pictures
from txtdiff.conditioning import StageModel
from txtdiff.config import RunConfig
from txtdiff.config_files import make_config, settings_layer
from txtdiff.data.batch import Batch, collate, conditions_of, to_network_range
from txtdiff.data.low_res import make_low_res
from txtdiff.data.pictures import open_pictures, rows_for
from txtdiff.model.unet import UNet, build_network
from txtdiff.settings import Settings
from txtdiff.training.inputs import make_inputs
from txtdiff.training.step import picture_losses
from txtdiff.training.trainer import train

BASE = [
    "model.image_size_px=16", "model.channels=32", "model.channel_mult=1,2", "model.n_res_blocks=1",
    "model.attention.resolutions_px=8", "model.attention.heads=1", "model.attention.channels_per_head=16",
    "model.text.width=32", "model.text.depth=1", "model.text.max_length=12",
    "model.text.attention.resolutions_px=8", "model.text.attention.heads=2", "diffusion.n_steps=100",
    "data.batch_size=4", "data.workers=0", "run.device=cpu", "run.images=8", "run.grid_pictures=0",
    "optim.lr=1e-3", "data.drop_all=0.3",
]  # fmt: skip
CAPTIONS = [
    "model.captions.tower=custom", "model.captions.size={width=32, layers=2, heads=2}",
    "model.captions.weights=random", "model.captions.frozen=false",
]  # fmt: skip
UPSAMPLER = ["model.upsampler.small_size_px=8"]
NOISY = [*UPSAMPLER, "model.upsampler.noise_conditioning=true", "diffusion.low_res_noise={}"]
CROP = ["data.crop.probability=0.9", "data.crop.min_area=0.3"]
OWN = ["data.no_text.crop=own", "data.no_text.probability=0.9"]
BLUR = [*UPSAMPLER, "data.low_res.blur_probability=1"]
WARM, LENGTHS = ["optim.warmup_images=12"], ["averaging.lengths=0.1"]
SYNTH = ["data.catalog=none", "data.synth.profile=word", "data.synth.drawn_px=32"]
NAMING = [*SYNTH, "model.text.names_characters=true"]
TWO_MAPS = ["model.attention.resolutions_px=8,16", "model.text.attention.resolutions_px=8,16"]
GRID = ["run.grid_pictures=2", "run.grid_steps=2"]

ACTS: dict[str, tuple[str, list[str]] | tuple[str, list[str], str]] = {
    "model.image_size_px": ("32", TWO_MAPS),
    "model.image_channels": ("1", []),
    "model.grey_adapter": ("true", ["model.image_channels=1"]),
    "model.predicts_variance": ("false", [], "diffusion.variance=fixed_small"),
    "model.patch_size": ("2", TWO_MAPS),
    "model.channels": ("64", []),
    "model.channel_mult": ("1,1", []),
    "model.n_res_blocks": ("2", []),
    "model.resample": ("conv", []),
    "model.timestep": ("add", []),
    "model.norm_groups": (
        "second_norm_32",
        ["model.channels=72", "model.attention.channels_per_head=24"],
    ),
    "model.dropout": ("0.5", []),
    "model.attention.kind": ("none", ["model.text=none", "data.drop_all=0.1"]),
    "model.attention.resolutions_px": ("16", []),
    "model.attention.heads": ("2", []),
    "model.attention.heads_up": ("2", ["model.attention.channels_per_head_up=none"]),
    "model.attention.channels_per_head": ("32", []),
    "model.attention.channels_per_head_up": ("32", []),
    "model.text.tokenizer": ("clip", []),
    "model.text.newline_id": ("70", []),
    "model.text.max_length": ("20", []),
    "model.text.width": ("64", []),
    "model.text.depth": ("2", []),
    "model.text.norm": ("rezero", []),
    "model.text.t5_positions": ("false", []),
    "model.text.rotary_positions": ("true", []),
    "model.text.feed_forward.mult": ("2", []),
    "model.text.feed_forward.glu": ("true", []),
    "model.text.names_characters": ("true", SYNTH),
    "model.text.attention.weave.qkv_width": ("image", []),
    "model.text.attention.weave.feed_forward.mult": ("3", []),
    "model.text.attention.weave.feed_forward.glu": ("true", []),
    "model.text.attention.weave.feed_forward_gain": ("false", []),
    "model.text.attention.weave.feed_forward_rezero": ("true", []),
    "model.text.attention.weave.feed_forward_norm": ("false", []),
    "model.text.attention.resolutions_px": ("16", []),
    "model.text.attention.where": ("down_and_up", []),
    "model.text.attention.before_self_attention": ("true", []),
    "model.text.attention.heads": ("4", []),
    "model.text.attention.image_norm": ("layer_norm", ["model.text.attention.weave=none"]),
    "model.text.attention.modulated_norm": ("groups_32", []),
    "model.text.attention.prenorm": ("false", ["model.text.attention.gain=rezero"]),
    "model.text.attention.gain": ("layer_scale", []),
    "model.text.attention.initial_gain": ("0.5", []),
    "model.text.attention.gain_scale": ("2.0", []),
    "model.text.attention.orthogonal_init": ("false", []),
    "model.text.attention.image_self_attention": ("final", []),
    "model.captions.size.width": ("64", CAPTIONS),
    "model.captions.size.layers": ("3", CAPTIONS),
    "model.captions.size.heads": ("4", CAPTIONS),
    "model.captions.size.vocab_size": ("49500", CAPTIONS),
    "model.captions.size.context_length": ("80", CAPTIONS),
    "model.captions.activation": ("quick_gelu", CAPTIONS),
    "model.captions.frozen": ("true", CAPTIONS),
    "model.captions.layer": ("final", CAPTIONS),
    "model.captions.join": ("pooled", CAPTIONS),
    "model.captions.pooled_hidden_layer": ("true", [*CAPTIONS, "model.captions.join=pooled"]),
    "model.captions.pooled_initial_scale": ("0.5", [*CAPTIONS, "model.captions.join=pooled"]),
    "model.captions.weave": ("true", [*CAPTIONS, "model.captions.join=cross_attention"]),
    "model.upsampler.small_size_px": ("4", UPSAMPLER),
    "model.upsampler.low_res_channels": ("1", UPSAMPLER),
    "model.upsampler.interpolation": ("nearest", UPSAMPLER),
    "model.upsampler.noise_conditioning": ("true", UPSAMPLER, "diffusion.low_res_noise={}"),
    "model.n_classes": ("9", []),
    "model.recompute_resolutions_px": ("16", []),
    "diffusion.n_steps": ("50", []),
    "diffusion.noise_schedule": ("linear", []),
    "diffusion.parameterisation": ("v", []),
    "diffusion.variance": (
        "fixed_large",
        ["model.predicts_variance=false", "diffusion.variance=fixed_small"],
    ),
    "diffusion.loss": ("v", []),
    "diffusion.vb_weight": ("2.0", []),
    "diffusion.min_snr_gamma": ("0.05", []),
    "diffusion.character_weight": ("3.0", NAMING),
    "diffusion.timestep_sampling": ("logit_normal", []),
    "diffusion.rescale_timesteps": ("true", []),
    "diffusion.low_res_noise.noise_schedule": ("linear", NOISY),
    "diffusion.low_res_noise.n_steps": ("500", NOISY),
    "diffusion.low_res_noise.max_step": ("7", NOISY),
    "data.synth.profile": ("random", SYNTH),
    "data.synth.later": ("digits@2", SYNTH),
    "data.synth.split": ("all", SYNTH),
    "data.synth.seed": ("1", SYNTH),
    "data.synth.drawn_px": ("64", SYNTH),
    "data.where": ("n_chars > 2", []),
    "data.class_name": ("text", ["model.n_classes=40"]),
    "data.class_map": ("MAP", ["model.n_classes=40"]),
    "data.class_unknown": ("5", ["model.n_classes=40", "data.class_map=MAP"]),
    "data.drop_class": ("0.9", ["model.n_classes=40"]),
    "data.require_captions": ("true", []),
    "data.min_file_size_bytes": ("10000000", []),
    "data.min_image_size_px": ("41", []),
    "data.batch_size": ("2", []),
    "data.jpeg_decoding": ("reduced", []),
    "data.crop.probability": ("0.5", CROP),
    "data.crop.min_area": ("0.6", CROP),
    "data.crop.max_area": ("0.5", CROP),
    "data.crop.around": ("anywhere", CROP),
    "data.no_text.crop": ("borrowed_safebox", CROP),
    "data.no_text.probability": ("0.5", OWN),
    "data.no_text.min_area": ("0.9", OWN),
    "data.no_text.max_area": ("0.5", OWN),
    "data.no_text.flip_probability": ("1.0", []),
    "data.square": ("around_text", []),
    "data.drop_txt": ("0.9", []),
    "data.drop_capt": ("0.9", CAPTIONS),
    "data.drop_all": ("0.9", []),
    "data.low_res.filter": ("area", UPSAMPLER),
    "data.low_res.blur_probability": ("0.5", UPSAMPLER),
    "data.low_res.blur_sigma_min_px": ("0.1", BLUR),
    "data.low_res.blur_sigma_max_px": ("3.0", BLUR),
    "data.low_res.blur_kernel_px": ("3", BLUR),
    "optim.lr": ("2e-3", []),
    "optim.text_lr": ("2e-3", []),
    "optim.gain_lr": ("2e-3", []),
    # Layers that start at zero let no gradient through to the tower in the first steps.
    "optim.caption_lr": ("2e-3", [*CAPTIONS, "run.images=20"]),
    "optim.beta1": ("0.5", []),
    "optim.beta2": ("0.5", []),
    "optim.weight_decay": ("0.5", []),
    "optim.warmup_images": ("20", []),
    "optim.warmup_from_image": ("2", WARM),
    "optim.anneal_images": ("12", []),
    "optim.clip_grad_norm": ("1e-3", []),
    "optim.microbatch": ("1", []),
    "averaging.rates": ("0.5", []),
    "averaging.start": ("exponential", []),
    "averaging.lengths": ("0.2", LENGTHS),
    "averaging.snapshot_every_images": ("4", LENGTHS),
    "run.images": ("12", []),
    "run.seed": ("3", []),
    "run.log_every_images": ("4", []),
    "run.save_every_images": ("4", []),
    "run.keep_checkpoints": ("1", ["run.save_every_images=4"]),
    "run.grid_every_images": ("4", GRID),
    "run.grid_pictures": ("3", GRID),
    "run.grid_steps": ("3", GRID),
    "run.save_first_batch": ("true", []),
}
ELSEWHERE = {
    "model.text.vocab_size": "follows from the tokenizer (test_word_pieces)",
    "model.captions.tower": "names a tower of open_clip (test_model)",
    "model.captions.weights": "loads weights, of which none are here (test_model)",
    "model.captions.pretrained_tag": "likewise",
    "data.catalog": "BASE has one", "data.folder": "test_data_source",
    "data.safeboxes": "test_data_source", "data.px_scales": "test_data_source",
    "data.captions": "test_data_source", "data.workers": "changes no picture (test_train)",
    "data.prefetch": "changes no picture",
    "optim.precision": "test_optimizer", "optim.loss_scale_log2": "fp16 (test_train)",
    "optim.loss_scale_growth_steps": "fp16, needs a GPU",
    "run.device": "test_command", "run.sharding": "test_ranks", "run.compile": "changes no number",
    "run.init": "test_train", "run.upload": "test_watching", "run.trackers": "test_watching",
    "run.matmul_precision": "test_train", "run.cudnn": "needs a GPU",
}  # fmt: skip


def leaves(group: type[Settings], path: str = "") -> Iterator[str]:
    for name, field in group.model_fields.items():
        union = typing.get_origin(field.annotation) in (types.UnionType, typing.Union)
        kinds = typing.get_args(field.annotation) if union else (field.annotation,)
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Settings)]
        yield from leaves(inner[0], f"{path}{name}.") if inner else (f"{path}{name}",)


def test_every_setting_has_its_case() -> None:
    assert sorted([*ACTS, *ELSEWHERE]) == sorted(leaves(RunConfig))


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("act")
    rows = make_pictures(folder / "p", 12, (60, 44))
    rows += make_pictures(folder / "q", 3, (40, 40))
    for i, row in enumerate(rows):
        path = Path(row["uri"])
        row["key"] = f"{'abc'[i % 3]}_{i}.{'jpg' if i % 2 else 'png'}"
        row["captions"] = row["captions"] if i % 4 else []
        image = Image.open(path)
        ImageDraw.Draw(image).line((0, 0, 30, 12), "white", 3)  # even pictures show no crop
        image.save(path)
        if i % 2:
            row["uri"] = str(path.with_suffix(".jpg"))
            row["size_px"] = (2 * image.width, 2 * image.height)
            row["safebox"] = row["safebox"] and tuple(2 * n for n in row["safebox"])
            image.resize(row["size_px"]).save(row["uri"])
    (folder / "map.json").write_text(json.dumps({"a": 7}))
    return write_catalog(folder / "c.duckdb", rows)


def configured(catalog: Path, *changes: str) -> RunConfig:
    changes = tuple(change.replace("MAP", str(catalog.parent / "map.json")) for change in changes)
    return make_config(settings_layer([*BASE, f"data.catalog={catalog}", *changes]))


def digest(*parts: Any) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part.numpy().tobytes() if isinstance(part, torch.Tensor) else repr(part).encode())
    return found.hexdigest()


def busy_network(config: RunConfig) -> UNet:
    """The network with no weight at zero, where fresh ones keep whole branches silent."""
    torch.manual_seed(0)
    network = build_network(config.model)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn(weight.shape) * 0.05)
    return network


def observe_model(config: RunConfig, folder: Path) -> str:
    torch.manual_seed(0)
    fresh = build_network(config.model)
    trained = [(name, weight.requires_grad) for name, weight in fresh.named_parameters()]
    network = busy_network(config)
    calls = []
    for module in network.modules():
        module.register_forward_hook(lambda module, given, out: calls.append(type(module).__name__))
    model = config.model
    chance = torch.Generator().manual_seed(0)
    shape = (2, model.image_channels, model.image_size_px, model.image_size_px)
    given: dict[str, torch.Tensor] = {"txt": torch.tensor([[0, 70, 6, 71, 1], [0, 72, 1, 0, 0]])}
    if model.captions is not None:
        length = 77 if model.captions.size is None else model.captions.size.context_length
        given["capt"] = torch.arange(1, 2 * length + 1).reshape(2, length)
    if model.n_classes is not None:
        given["y"] = torch.tensor([1, 2])
    if model.upsampler is not None:
        small = model.upsampler.small_size_px
        given["low_res"] = torch.randn(2, model.upsampler.low_res_channels, small, small, generator=chance)
        if model.upsampler.noise_conditioning:
            given["cond_timesteps"] = torch.tensor([3, 50])
    torch.manual_seed(1)
    out = network.train()(torch.randn(shape, generator=chance), torch.tensor([5, 60]), **given)
    out.square().mean().backward()
    return digest(trained, *fresh.state_dict().values(), len(calls), out.detach())


def batches(config: RunConfig) -> list[Batch]:
    model, data = config.model, config.data
    dataset = open_pictures(rows_for(data, model), data, model, 0)
    size, conditions = data.batch_size, conditions_of(model)
    return [collate([dataset[i] for i in range(n, n + size)], conditions) for n in range(0, 24, size)]


def observe_diffusion(config: RunConfig, folder: Path) -> str:
    network, parts = busy_network(config).eval(), []
    with torch.no_grad():
        for batch in batches(config)[:2]:
            inputs = make_inputs(batch, config, torch.device("cpu"))
            terms = picture_losses(network, inputs, config.diffusion)
            parts += [inputs.t, *inputs.cond.values(), terms.loss]
    if config.model.upsampler is None:
        stage = Stage(StageModel(network, config.diffusion), "network")
        settings = SamplerSettings(sampler="ddpm", n_steps=3)
        [sampled] = sample_pictures(Cascade((stage,)), [Prompt(txt="ab")], [settings], 1)
        parts.append(torch.from_numpy(sampled.pictures))
    return digest(*parts)


def observe_data(config: RunConfig, folder: Path) -> str:
    found, parts = batches(config), []
    for batch in found:
        parts += [batch.pictures, batch.texts, batch.captions, batch.y, batch.positions]
        if config.model.upsampler is not None:
            pictures = to_network_range(batch.pictures)
            parts.append(make_low_res(pictures, 8, config.data.low_res, seed=0, positions=batch.positions))
    return digest(*parts)


def observe_run(config: RunConfig, folder: Path) -> str:
    train(config, folder)
    ignored = ("config.toml", "manifest.json", "speed.jsonl", "loss.png")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in ignored)
    return digest([(str(path.relative_to(folder)), path.read_bytes()) for path in files])


OBSERVERS: dict[str, Callable[[RunConfig, Path], str]] = {
    "model": observe_model,
    "diffusion": observe_diffusion,
    "data": observe_data,
    "optim": observe_run,
    "averaging": observe_run,
    "run": observe_run,
}
_seen: dict[tuple[str, ...], str] = {}


@pytest.mark.parametrize("setting", ACTS)
def test_a_setting_changes_something(setting: str, catalog: Path, tmp_path: Path) -> None:
    value, company, *also = ACTS[setting]
    observe = OBSERVERS[setting.split(".")[0]]
    torch.set_num_threads(1)
    key = (observe.__name__, *company)
    if key not in _seen:
        _seen[key] = observe(configured(catalog, *company), tmp_path / "before")
    if setting == "data.min_file_size_bytes":  # so large that none is left: the message is what changes
        with pytest.raises(Exception, match="no usable picture"):
            observe(configured(catalog, *company, *also, f"{setting}={value}"), tmp_path / "after")
        return
    after = observe(configured(catalog, *company, *also, f"{setting}={value}"), tmp_path / "after")
    assert after != _seen[key]


def test_the_same_settings_look_the_same(catalog: Path, tmp_path: Path) -> None:
    """Or the test above would prove nothing."""
    for observe in (observe_model, observe_diffusion, observe_data, observe_run):
        once, again = (observe(configured(catalog), tmp_path / observe.__name__ / n) for n in "ab")
        assert once == again, observe.__name__
    assert isinstance(busy_network(configured(catalog)), nn.Module)
