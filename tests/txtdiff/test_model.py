"""The network itself: what conditions it, what does not reach it, and what must not change its output."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import huggingface_hub
import open_clip
import pytest
import torch
from pydantic import ValidationError
from test_fork_convert import Bomb
from tiny import tiny_config
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from datatools.errors import InputError
from txtdiff.data.tokenizer import CAPTION_LENGTH
from txtdiff.model.attention import to_tokens
from txtdiff.model.blocks import BlockOptions, ResBlock, convolve, convolve_doubled, double
from txtdiff.model.caption_encoder import CaptionEncoder, tower_size
from txtdiff.model.caption_weights import _is_kept, load_caption_tower
from txtdiff.model.config import (
    AttentionConfig,
    CaptionConfig,
    ModelConfig,
    TextAttentionConfig,
    TextConfig,
    TowerSize,
    UpsamplerConfig,
)
from txtdiff.model.context import CaptionFeatures, Context
from txtdiff.model.embeddings import rotary_angles_2d, rotate_interleaved
from txtdiff.model.layout import plan_network
from txtdiff.model.text_encoder import relative_bucket
from txtdiff.model.unet import UNet, build_network
from txtdiff.training.trainer import train

TOWER = CaptionConfig(
    tower="custom", size=TowerSize(width=32, layers=2, heads=2, vocab_size=50), weights="random", frozen=False
)


def small(**changes: object) -> ModelConfig:
    """A network that runs in milliseconds."""
    fields: dict[str, object] = {
        "image_size_px": 16,
        "channels": 32,
        "channel_mult": (1, 2),
        "n_res_blocks": 1,
        "attention": AttentionConfig(resolutions_px=(8,), channels_per_head=16),
        "text": TextConfig(width=64, attention=TextAttentionConfig(resolutions_px=(8,))),
    }
    return ModelConfig.model_validate(fields | changes)


def network(config: ModelConfig) -> UNet:
    """Random weights everywhere: at the start many layers are zero and would hide mistakes."""
    torch.manual_seed(0)
    built = build_network(config).eval()
    with torch.no_grad():
        for name, weight in built.named_parameters():
            noise = torch.randn(weight.shape)
            if weight.ndim >= 2:
                weight.copy_(noise * weight[0].numel() ** -0.5)
            else:
                weight.copy_(0.1 * noise + (1.0 if name.endswith("weight") else 0.0))
    return built


def inputs(n: int = 2, channels: int = 3, size: int = 16) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, channels, size, size, generator=generator), torch.tensor([3, 700, 20, 999][:n])


TXT = torch.tensor([[0, 80, 81, 1, 0, 0], [0, 90, 91, 92, 6, 1]])
CAPT = torch.nn.functional.pad(torch.tensor([[48, 5, 49, 0], [48, 7, 8, 49]]), (0, 73))


def test_padding_and_neighbours_in_the_batch_change_nothing() -> None:
    net, (x, t) = network(small(captions=TOWER)), inputs()
    with torch.no_grad():
        both = net(x, t, txt=TXT, capt=CAPT)
        alone = net(x[:1], t[:1], txt=TXT[:1, :4], capt=CAPT[:1])
    assert (both[:1] - alone).abs().max() <= 1e-5


def test_each_letter_line_and_word_reaches_the_output() -> None:
    net, (x, t) = network(small(captions=TOWER)), inputs(1)
    with torch.no_grad():
        plain = net(x, t, txt=TXT[:1], capt=CAPT[:1])
        for changed in (
            {"txt": torch.tensor([[0, 80, 82, 1, 0, 0]]), "capt": CAPT[:1]},
            {"txt": torch.tensor([[0, 80, 81, 6, 1, 0]]), "capt": CAPT[:1]},
            {"txt": TXT[:1], "capt": CAPT[1:]},
            {"txt": TXT[:1], "capt": None},
        ):
            assert (net(x, t, **changed) - plain).abs().max() > 1e-4


def test_captions_can_be_encoded_once_selected_and_joined() -> None:
    for join in (("self_attention", "pooled"), ("cross_attention",)):
        net, (x, t) = network(small(captions=TOWER.model_copy(update={"join": join}))), inputs()
        with torch.no_grad():
            wanted = net(x, t, txt=TXT, capt=CAPT)
            once = net.encode_captions(CAPT)
            assert once is not None
            swapped = once.select(torch.tensor([1, 0]))
            joined = CaptionFeatures.concat(
                [swapped.select(torch.tensor([1])), swapped.select(torch.tensor([0]))]
            )
            assert (net(x, t, txt=TXT, capt=joined) - wanted).abs().max() <= 1e-5


def test_an_upsampler_sees_the_small_picture_and_its_noise() -> None:
    config = small(upsampler=UpsamplerConfig(small_size_px=8, noise_conditioning=True))
    net, (x, t) = network(config), inputs()
    low_res = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        first = net(x, t, txt=TXT, low_res=low_res, cond_timesteps=torch.tensor([0, 0]))
        noisier = net(x, t, txt=TXT, low_res=low_res, cond_timesteps=torch.tensor([0, 300]))
        other = net(x, t, txt=TXT, low_res=-low_res, cond_timesteps=torch.tensor([0, 0]))
    assert first.shape == (2, 6, 16, 16)
    assert (first[:1] - noisier[:1]).abs().max() <= 1e-5 < (first[1:] - noisier[1:]).abs().max()
    assert (first - other).abs().max() > 1e-3


def test_what_a_network_needs_must_be_given_and_nothing_else() -> None:
    net, (x, t) = network(small(n_classes=10)), inputs()
    y = torch.tensor([1, 2])
    with torch.no_grad():
        assert (net(x, t, txt=TXT, y=y) - net(x, t, txt=TXT, y=y + 1)).abs().max() > 1e-4
    with pytest.raises(ValueError, match="needs y"):
        net(x, t, txt=TXT)
    with pytest.raises(ValueError, match="needs txt"):
        net(x, t, y=y)
    with pytest.raises(ValueError, match="no use for low_res"):
        net(x, t, txt=TXT, y=y, low_res=x)
    with pytest.raises(ValueError, match="positions"):
        net(x, t, txt=torch.ones(2, 65, dtype=torch.long), y=y)


def test_patches_fold_pixels_into_channels() -> None:
    net = network(small(image_size_px=32, patch_size=2))
    x, t = inputs(size=32)
    with torch.no_grad():
        assert net(x, t, txt=TXT).shape == (2, 6, 32, 32)
    assert net.stem.in_channels == 12
    assert {stage.resolution_px for stage in net.plan.down} == {16, 8}


@pytest.mark.parametrize("adapter", [False, True])
def test_grey_pictures(adapter: bool) -> None:
    net = network(small(image_channels=1, grey_adapter=adapter, predicts_variance=False))
    x, t = inputs(channels=1)
    with torch.no_grad():
        assert net(x, t, txt=TXT).shape == (2, 1, 16, 16)


def test_recomputed_activations_give_the_same_gradients() -> None:
    gradients = []
    for resolutions in ((), (16, 8)):
        net, (x, t) = network(small(recompute_resolutions_px=resolutions, captions=TOWER)), inputs()
        net.train()
        net(x, t, txt=TXT, capt=CAPT).square().mean().backward()
        gradients.append([weight.grad for weight in net.parameters()])
    for kept, recomputed in zip(*gradients, strict=True):
        assert kept is not None and recomputed is not None
        assert torch.equal(kept, recomputed)


def test_a_new_network_predicts_nothing_yet() -> None:
    torch.manual_seed(0)
    x, t = inputs()
    with torch.no_grad():
        assert build_network(small())(x, t, txt=TXT).abs().max() == 0


def test_a_frozen_tower_has_no_gradients_and_a_trained_one_has() -> None:
    for frozen in (True, False):
        net, (x, t) = network(small(captions=TOWER.model_copy(update={"frozen": frozen}))), inputs()
        assert net.caption_encoder is not None
        net.train()
        net(x, t, txt=TXT, capt=CAPT).square().mean().backward()
        assert (net.caption_encoder.token_embedding.weight.grad is None) == frozen
        assert net.caption_encoder.norm.weight.grad is not None


def test_structure_without_memory() -> None:
    with torch.device("meta"):
        net = build_network(small(channels=256, captions=TOWER))
    assert {weight.device.type for weight in net.parameters()} == {"meta"}


def test_the_layout_of_the_readme_model() -> None:
    """Which layers stand where in the fork's README model (64 px, C = 256), entry by entry."""
    config = ModelConfig(
        image_size_px=64,
        channels=256,
        channel_mult=(1, 2, 2, 4, 4),
        attention=AttentionConfig(resolutions_px=(4, 8, 16)),
        text=TextConfig(width=512, attention=TextAttentionConfig(resolutions_px=(8, 16, 32))),
    )
    plan = plan_network(config)
    assert [stage.slots for stage in plan.down[:6]] == [
        ("res",),
        ("res",),
        ("down",),
        ("res",),
        ("res",),
        ("down",),
    ]
    assert plan.down[6].slots == ("res", "attention")
    assert (plan.up[0].in_channels, plan.up[0].slots) == (2048, ("res", "attention"))
    assert plan.up[2].slots == ("res", "attention", "up")
    assert (plan.up[5].in_channels, plan.up[5].slots) == (1536, ("res", "attention", "text", "up"))
    assert (plan.up[11].in_channels, plan.up[11].slots) == (768, ("res", "text", "up"))
    assert [stage.out_channels for stage in plan.up[12:]] == [256] * 3


def test_relative_buckets_are_those_of_t5() -> None:
    distances = torch.arange(-200, 201)
    for distance, bucket in zip(distances.tolist(), relative_bucket(distances).tolist(), strict=True):
        size, base = abs(distance), 16 if distance < 0 else 0
        wanted = size if size < 8 else min(15, 8 + int(8 * math.log(size / 8) / math.log(16)))
        assert bucket == base + wanted


@pytest.mark.parametrize(
    "changes",
    [
        {"image_size_px": 18, "channel_mult": (1, 2, 2)},
        {"grey_adapter": True},
        {"text": None, "captions": TOWER.model_copy(update={"join": ("cross_attention",)})},
        {"captions": {"tower": "custom"}},
        {"captions": {"join": ()}},
        {"captions": {"join": ("self_attention", "cross_attention")}},
        {"text": {"width": 96}},
        {"text": {"attention": {"image_norm": "layer_norm"}}},
        {"no_such_setting": 1},
    ],
)
def test_settings_that_contradict_each_other_are_errors(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        small(**changes)


@pytest.mark.parametrize("join", [None, "self_attention", "cross_attention", "pooled"])
@pytest.mark.parametrize("n_classes", [None, 10])
def test_several_conditionings_of_a_picture_share_what_comes_before_them(
    join: str | None, n_classes: int | None
) -> None:
    captions = None if join is None else TOWER.model_copy(update={"join": (join,)})
    net, (x, t) = network(small(captions=captions, n_classes=n_classes)), inputs()
    rows = {"txt": torch.cat([TXT, TXT.flip(0), TXT])}
    if captions is not None:
        rows["capt"] = torch.cat([CAPT, CAPT.flip(0), CAPT.flip(0)])
    if n_classes is not None:
        rows["y"] = torch.tensor([1, 2, 3, 3, 4, 5])
    sizes: list[int] = []
    net.stem.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    with torch.no_grad():
        together = net(x, t, **rows)
        apart = net(x.repeat(3, 1, 1, 1), t.repeat(3), **rows)
    assert sizes == [2, 6]
    assert (together - apart).abs().max() <= 1e-5
    assert (together[:2] - together[2:4]).abs().max() > 1e-4


def test_a_convolution_computed_another_way_is_the_same_convolution() -> None:
    """As a matrix product; of a doubled map without doubling it; borders and odd sizes included."""
    conv = torch.nn.Conv2d(5, 7, 3, padding=1)
    for shape in ((3, 5, 4, 6), (2, 5, 16, 16), (1, 5, 17, 33)):
        x = torch.randn(shape)
        with torch.no_grad():
            torch.testing.assert_close(convolve(x, conv.weight, conv.bias), conv(x), rtol=0, atol=1e-6)
            doubled = convolve_doubled(x, conv.weight, conv.bias)
            torch.testing.assert_close(doubled, conv(double(x)), rtol=0, atol=1e-6)
        assert convolve(x, conv.weight, conv.bias).requires_grad
        wanted = (x.requires_grad_(), conv.weight, conv.bias)
        one, other = convolve_doubled(x, conv.weight, conv.bias), conv(double(x))
        slope = torch.randn_like(one)
        for mine, theirs in zip(*(torch.autograd.grad(y, wanted, slope) for y in (one, other)), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("width", "skip_width"), [(64, 64), (64, 32), (40, 24)])
def test_what_a_skip_brings_is_computed_once_for_all_conditionings(width: int, skip_width: int) -> None:
    """Also where a group of the norm lies across the seam, as 3 of 96 channels and 1 of 64 do."""
    block = ResBlock(width + skip_width, width, BlockOptions(8, "scale_shift", "by_width", 0.0)).eval()
    for weight in block.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    x, skip = torch.randn(2, width, 32, 32), torch.randn(1, skip_width, 32, 32)
    context = Context(torch.randn(2, 8), None, None, None, {}, False)
    with torch.no_grad():
        with FlopCounterMode(display=False) as shared:
            found = block(x, context, skip)
        with FlopCounterMode(display=False) as whole:
            expected = block(torch.cat([x, skip.repeat(2, 1, 1, 1)], dim=1), context)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert shared.get_total_flops() < 0.95 * whole.get_total_flops()


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_gradients_of_a_map_lie_as_the_map_does(layout: torch.memory_format) -> None:
    x = torch.randn(2, 6, 4, 4).to(memory_format=layout).requires_grad_()
    weights = torch.randn(2, 16, 6)
    (gradient,) = torch.autograd.grad((to_tokens(x * 1.0) * weights).sum(), x)
    assert gradient.is_contiguous(memory_format=layout)
    assert torch.equal(gradient, weights.transpose(1, 2).reshape(x.shape))


def test_places_are_as_exact_in_bf16_as_the_numbers_turned() -> None:
    x, angles = torch.randn(1, 1, 64, 8), rotary_angles_2d(8, 8)
    exact, coarse = rotate_interleaved(x, angles), rotate_interleaved(x.bfloat16(), angles)
    assert coarse.dtype == torch.bfloat16
    assert float((exact - coarse.float()).abs().max()) < 0.05  # angles in bf16 are off by far more


def test_any_model_of_open_clip_fits_or_is_refused() -> None:
    """A tower that is built reads our captions' ids; sizes that come again are built once."""
    built: set[TowerSize] = set()
    refused: dict[str, str] = {}
    for name in open_clip.list_models():
        config = CaptionConfig(tower=name, weights="random")
        try:
            size = tower_size(config)
        except InputError as error:
            refused[name] = error.what
            continue
        assert open_clip.get_model_config(name)["text_cfg"].get("context_length", 77) == CAPTION_LENGTH
        if size not in built:
            built.add(size)
            with torch.device("meta"):
                features, keep = CaptionEncoder(config)(torch.zeros(1, CAPTION_LENGTH, dtype=torch.long))
            assert (features.shape, keep.shape) == ((1, 77, size.width), (1, 77))
    assert "reads 32 tokens" in refused["PE-Core-B-16"]
    assert "reads 72 tokens" in refused["PE-Core-bigG-14-448"]
    assert "the tokens of google/mt5-base" in refused["ViT-L-14-worldwide-quickgelu"]
    assert "not CLIP's causal transformer" in refused["coca_ViT-B-32"]
    assert not {"RN50", "ViT-B-32", "ViT-L-14-336-quickgelu", "EVA02-L-14", "MobileCLIP-B"} & refused.keys()
    with pytest.raises(InputError, match="is not a model that open_clip knows"):
        tower_size(CaptionConfig(tower="local-dir:none"))
    with pytest.raises(InputError, match="context_length = 32: a caption is 77 tokens long"):
        short = TowerSize(width=32, layers=2, heads=2, context_length=32)
        tower_size(TOWER.model_copy(update={"size": short}))


@pytest.mark.parametrize(("layer", "trained"), [("final", []), ("penultimate", ["norm.weight", "norm.bias"])])
def test_of_a_frozen_tower_only_a_norm_of_our_own_is_trained(layer: str, trained: list[str]) -> None:
    """The norm after the last block is CLIP's, that after the last but one is new (fork_spec 6)."""
    net, (x, t) = network(small(captions=TOWER.model_copy(update={"frozen": True, "layer": layer}))), inputs()
    assert net.caption_encoder is not None
    net.train()(x, t, txt=TXT, capt=CAPT).square().mean().backward()
    weights = dict(net.caption_encoder.named_parameters())
    assert "norm.weight" in weights
    assert [name for name, weight in weights.items() if weight.grad is not None] == trained


@pytest.fixture
def pretrained() -> UNet:
    """A network whose tower's weights are to come from the hub."""
    size = TowerSize(width=32, layers=2, heads=2, vocab_size=50)
    return build_network(small(captions=CaptionConfig(tower="ViT-L/14@336px", size=size)))


@pytest.fixture
def no_hub_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repo, file: None)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


@pytest.mark.usefixtures("no_hub_cache")
def test_without_a_hub_its_absence_is_told_before_it_is_asked(
    pretrained: UNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("txtdiff.model.caption_weights.unreachable", lambda url, timeout_s: "no network here")
    monkeypatch.setattr(open_clip, "create_model", lambda *args, **more: pytest.fail("asked the hub"))
    with pytest.raises(InputError) as raised:
        load_caption_tower(pretrained)
    assert str(raised.value).split("\n") == [
        "the weights ViT-L-14-336-quickgelu/openai of captions.tower cannot be had: "
        "the hub cannot be reached (no network here)",
        'Set model.captions.weights to a file with CLIP weights, or to "random" to do without.',
    ]


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.usefixtures("no_hub_cache")
def test_a_hub_that_fails_halfway_is_one_message(
    pretrained: UNet,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    kept: bool,
) -> None:
    """It has answered, or need not, for the weights are kept here; what it logs is not shown."""

    def fail(*args: object, **more: object) -> None:
        for _ in range(20):
            logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 8s [Retry 5/5].")
        logging.error("Failed to download weights")  # as open_clip does
        raise RuntimeError("cut off")

    found = str(tmp_path) if kept else None
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repo, file: found)

    def answer(url: str, timeout_s: float) -> str | None:
        return pytest.fail("asked the hub") if kept else None

    monkeypatch.setattr("txtdiff.model.caption_weights.unreachable", answer)
    monkeypatch.setattr(open_clip, "create_model", fail)
    with pytest.raises(InputError, match=r"cannot be had \(RuntimeError: cut off\)"):
        load_caption_tower(pretrained)
    assert not caplog.records
    logging.getLogger("huggingface_hub").warning("and afterwards it is")
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("hub", "kept"),
    [
        ("timm/vit/", {"open_clip_model.safetensors", "open_clip_pytorch_model.bin"}),
        ("jienengchen/ViTamin-S/pytorch_model.bin", {"pytorch_model.safetensors", "pytorch_model.bin"}),
        ("some/one/weights.pt", {"weights.pt"}),
    ],
)
def test_weights_count_as_kept_under_the_names_that_open_clip_asks_for(
    monkeypatch: pytest.MonkeyPatch, hub: str, kept: set[str]
) -> None:
    names = {*kept, "model.safetensors", "weights.safetensors", "config.json"}
    found = set()
    for name in names:
        monkeypatch.setattr(
            huggingface_hub,
            "try_to_load_from_cache",
            lambda repo, file, only=name: file if file == only else None,
        )
        if _is_kept({"hf_hub": hub}):
            found.add(name)
    assert found == kept


def test_a_file_of_caption_weights_that_holds_code_is_told_so_and_no_more(tmp_path: Path) -> None:
    """PyTorch's own message says how to run it all the same."""
    proof, path = tmp_path / "proof", tmp_path / "evil.pt"
    torch.save({"positional_embedding": Bomb(proof)}, path)
    with pytest.raises(InputError) as refused:
        load_caption_tower(build_network(small(captions=TOWER.model_copy(update={"weights": str(path)}))))
    assert "nothing in it was run" in refused.value.what and "\n" not in refused.value.what
    assert "weights_only" not in str(refused.value)
    assert not proof.exists()
    for content, said in (([1], "no state dict but list"), ({"x": 1}, "more than named tensors: int")):
        torch.save(content, path)
        with pytest.raises(InputError, match=said):
            load_caption_tower(build_network(small(captions=TOWER.model_copy(update={"weights": str(path)}))))


def test_a_tag_that_a_model_does_not_have_is_told_with_those_it_has() -> None:
    captions = TOWER.model_copy(
        update={"tower": "ViT-L-14-336", "weights": "pretrained", "pretrained_tag": "opnai"}
    )
    with pytest.raises(InputError, match="open_clip has no such weights for ViT-L-14-336\nIt has openai"):
        load_caption_tower(build_network(small(captions=captions)))


@pytest.mark.usefixtures("no_hub_cache")
def test_weights_that_a_new_run_cannot_have_are_told_before_pictures_are_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def read_pictures(*args: object) -> None:
        raise LookupError

    monkeypatch.setattr("txtdiff.model.caption_weights.unreachable", lambda url, timeout_s: "no network here")
    monkeypatch.setattr("txtdiff.training.trainer.rows_for", read_pictures)
    config = tiny_config(tmp_path / "none.duckdb", "model.captions.tower=ViT-B-32")
    with pytest.raises(InputError, match="no network here"):
        train(config, tmp_path / "run")
    absent = tiny_config(tmp_path / "none.duckdb", "model.captions.weights=none.safetensors")
    with pytest.raises(InputError, match=r"captions\.weights = none\.safetensors: there is no such file"):
        train(absent, tmp_path / "run")
    (tmp_path / "run" / "step-4").mkdir()  # a run that goes on has its own
    with pytest.raises(LookupError):
        train(config, tmp_path / "run")
