"""Cascades: pictures that belong to their prompt, whatever the batch, and guidance that does what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import txtdiff.stages
from datatools.errors import InputError
from txtdiff.cascade import (
    Cascade,
    Prompt,
    SampledPictures,
    SamplerSettings,
    Stage,
    load_cascade,
    sample_pictures,
    to_uint8,
)
from txtdiff.conditioning import LowRes, StageModel, batch_denoiser
from txtdiff.data.config import LowResConfig
from txtdiff.data.low_res import shrink
from txtdiff.diffusion.config import DiffusionConfig, NoiseConditioning
from txtdiff.diffusion.consistency import consistent
from txtdiff.diffusion.denoiser import Denoiser, Prediction
from txtdiff.diffusion.noise import LOW_RES, START, STEPS, picture_noise
from txtdiff.diffusion.schedule import make_schedule
from txtdiff.model.config import (
    AttentionConfig,
    CaptionConfig,
    ModelConfig,
    TextAttentionConfig,
    TextConfig,
    TowerSize,
    UpsamplerConfig,
)
from txtdiff.model.unet import UNet, build_network
from txtdiff.pretrained import bundled_stage
from txtdiff.sample_files import Wishes, check_prompts, plan_stages
from txtdiff.sampler_settings import SamplerName

TEXT = TextConfig(
    width=32, depth=1, max_length=24, attention=TextAttentionConfig(resolutions_px=(8,), heads=2)
)
CAPTIONS = CaptionConfig(
    tower="custom", size=TowerSize(width=32, layers=2, heads=2), weights="random", activation="gelu"
)
UPSAMPLER = UpsamplerConfig(small_size_px=16, noise_conditioning=True)
TEXTS = ["", "a", "hello\nworld", "Stop!", "no parking", "x" * 22]
PROMPTS = [Prompt(txt=text, capt="a sign" if i % 2 else None, seed=10 + i) for i, text in enumerate(TEXTS)]


def small_network(seed: int = 0, **fields: Any) -> UNet:
    """A random network that, unlike a fresh one, heeds all it is told: fresh ones end in zeros."""
    torch.manual_seed(seed)
    attention = AttentionConfig(
        resolutions_px=(8,), heads=2, channels_per_head=None, channels_per_head_up=None
    )
    fields = {"text": TEXT, "channel_mult": (1, 2), "image_size_px": 16} | fields
    network = build_network(ModelConfig(channels=32, n_res_blocks=1, attention=attention, **fields))
    for weight in network.parameters():
        weight.requires_grad_(False).add_(torch.randn_like(weight) * 0.05)
    return network.eval()


@pytest.fixture(scope="module")
def cascade() -> Cascade:
    base = StageModel(small_network(captions=CAPTIONS), DiffusionConfig(parameterisation="v"))
    upsampler = StageModel(
        small_network(1, image_size_px=32, upsampler=UPSAMPLER),
        DiffusionConfig(low_res_noise=NoiseConditioning()),
    )
    return Cascade((Stage(base, "base"), Stage(upsampler, "upsampler")))


def settings_for(sampler: SamplerName) -> list[SamplerSettings]:
    base = SamplerSettings(sampler=sampler, n_steps=4, guidance_txt=3, guidance_capt=2)
    return [base, SamplerSettings(sampler=sampler, n_steps=2, noise_level=50, dynamic_threshold=0.99)]


def pictures_of(
    cascade: Cascade,
    settings: Sequence[SamplerSettings],
    batch_size: int,
    *,
    prompts: Sequence[Prompt] = PROMPTS,
    exact: bool = False,
) -> NDArray[np.uint8]:
    batches = sample_pictures(cascade, prompts, settings, batch_size, exact=exact)
    return np.concatenate([batch.pictures for batch in batches])


@pytest.mark.parametrize("sampler", get_args(SamplerName))
def test_pictures_agree_to_a_grey_level_at_any_batch_size(cascade: Cascade, sampler: SamplerName) -> None:
    alone = pictures_of(cascade, settings_for(sampler), 1).astype(int)
    assert alone.shape == (6, 32, 32, 3)
    assert alone.std() > 20
    for batch_size in (4, 6):
        other = pictures_of(cascade, settings_for(sampler), batch_size)
        assert np.abs(alone - other).max() <= 1


@pytest.mark.parametrize("sampler", ["ddpm", "plms"])
def test_exact_pictures_do_not_depend_on_their_batch_at_all(cascade: Cascade, sampler: SamplerName) -> None:
    settings = settings_for(sampler)
    together = pictures_of(cascade, settings, 6, exact=True)
    fewer_reversed = pictures_of(cascade, settings, 3, prompts=PROMPTS[2::-1], exact=True)
    np.testing.assert_array_equal(fewer_reversed[::-1], together[:3])


def test_the_same_call_twice_is_the_same_to_the_bit(cascade: Cascade) -> None:
    torch.manual_seed(1)
    first = pictures_of(cascade, settings_for("ddpm"), 4)
    torch.manual_seed(2)
    np.testing.assert_array_equal(pictures_of(cascade, settings_for("ddpm"), 4), first)


def test_seed_text_and_caption_make_the_picture(cascade: Cascade) -> None:
    settings = settings_for("ddim")
    prompts = [
        Prompt(txt="one", capt="red", seed=1),
        Prompt(txt="one", capt="red", seed=2),
        Prompt(txt="two", capt="red", seed=1),
        Prompt(txt="one", capt="green", seed=1),
        Prompt(txt="one", capt="red", seed=1),
    ]
    pictures = pictures_of(cascade, settings, 5, prompts=prompts)
    np.testing.assert_array_equal(pictures[0], pictures[4])
    for other in pictures[1:4]:
        assert np.abs(pictures[0].astype(int) - other).max() > 1


@given(
    st.lists(st.integers(0, 2**63), min_size=1, max_size=6),
    st.integers(0, 2),
    st.sampled_from([START, STEPS, LOW_RES]),
)
def test_noise_belongs_to_the_picture(seeds: list[int], stage: int, purpose: int) -> None:
    def noise(of: Sequence[int], at: int = stage) -> torch.Tensor:
        source = picture_noise(of, (3, 4, 4), stage=at, purpose=purpose, device=torch.device("cpu"))
        return torch.stack([source(), source()])

    together = noise(seeds)
    for i, seed in enumerate(seeds):
        assert torch.equal(noise([seed])[:, 0], together[:, i])
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(noise(seeds, stage + 1), together)


def test_evaluations_are_counted_per_picture(cascade: Cascade) -> None:
    base = Cascade(cascade.stages[:1])

    def n_evaluations(batch_size: int = 2, **fields: Any) -> int:
        settings = SamplerSettings(sampler="ddim", n_steps=4, **fields)
        return next(sample_pictures(base, PROMPTS, [settings], batch_size)).n_evaluations

    assert n_evaluations() == 4
    assert n_evaluations(guidance_txt=2, guidance_capt=2) == 8
    assert n_evaluations(guidance_txt=3, guidance_capt=2) == 12
    assert n_evaluations(guidance_txt=2) == 8
    assert n_evaluations(guidance_txt=2, batch_size=8) == 8
    # 999, 749, 499, 249: the middle two are guided.
    assert n_evaluations(guidance_txt=2, guidance_interval=(0.4, 0.8)) == 6
    both = next(sample_pictures(cascade, PROMPTS[:3], settings_for("ddim"), 3))
    assert both.n_evaluations == 4 * 3 + 2


def asked_for(cascade: Cascade, *changes: str) -> SampledPictures:
    """What `txtdiff sample --sampler ddim:4 --guidance 2 --guidance-capt 3 --set …` makes of one prompt."""
    settings = plan_stages(cascade, Wishes("ddim:4", 2.0, 3.0, changes))
    return next(sample_pictures(cascade, PROMPTS[1:2], settings, 1))


@pytest.fixture(scope="module")
def led(cascade: Cascade) -> tuple[Cascade, SampledPictures]:
    """With a weaker network for the base, and a picture to compare with."""
    base = replace(cascade.stages[0].model, weaker=small_network(2, captions=CAPTIONS))
    stages = Cascade((replace(cascade.stages[0], model=base), cascade.stages[1]))
    return stages, asked_for(stages)


@pytest.mark.parametrize(
    "change",
    [
        *(
            "base.sampler=unipc",
            "base.n_steps=3",
            "base.fork_spacing=5",
            "base.fork_spacing=2,2",
            "base.eta=0.7",
        ),
        *("base.guidance_txt=5", "base.guidance_capt=5", "base.guidance_interval=0.3,0.8"),
        *(
            "base.guidance_rescale=0.7",
            "base.autoguidance=2",
            "base.clamp=false",
            "base.dynamic_threshold=0.8",
        ),
        *("upsampler.sampler=ddpm", "upsampler.guidance_txt=300", "upsampler.clamp=false"),
        *("upsampler.dynamic_threshold=0.8", "upsampler1.noise_level=90"),
        "upsampler.low_res_consistency=1",
    ],
)
def test_every_setting_of_a_stage_acts_from_the_command_line(
    led: tuple[Cascade, SampledPictures], change: str
) -> None:
    stages, before = led
    after = asked_for(stages, change)
    assert (before.pictures != after.pictures).any()
    assert (before.base_pictures != after.base_pictures).any() == change.startswith("base")


def test_guidance_in_one_batch_is_guidance_in_several_passes(cascade: Cascade) -> None:
    stage = cascade.stages[0]
    together = replace(stage, model=replace(stage.model, stacks_guidance=True))
    apart = replace(stage, model=replace(stage.model, stacks_guidance=False))
    settings = [SamplerSettings(sampler="heun", n_steps=4, guidance_txt=4, guidance_capt=2)]
    one = pictures_of(Cascade((together,)), settings, 4).astype(int)
    assert np.abs(pictures_of(Cascade((apart,)), settings, 4) - one).max() <= 1


def test_guidance_follows_its_formula_through_the_network(cascade: Cascade) -> None:
    model = cascade.stages[0].model
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    given = [Prompt(txt="yes", capt="a sign"), Prompt(txt="no", capt="a page")]
    drop = "<mask><mask><mask><mask>"
    without_text = [replace(prompt, txt=drop) for prompt in given]
    with_nothing = [replace(prompt, txt=drop, capt=None) for prompt in given]

    def eps(prompts: Sequence[Prompt], **fields: Any) -> torch.Tensor:
        settings = SamplerSettings(clamp=False, **fields)
        return batch_denoiser(model, prompts, settings, None)(x, 600).eps

    nothing, caption, all_of_it = eps(with_nothing), eps(without_text), eps(given)
    guided = eps(given, guidance_txt=4, guidance_capt=2.5)
    expected = nothing + 2.5 * (caption - nothing) + 4 * (all_of_it - caption)
    torch.testing.assert_close(guided, expected, rtol=0, atol=2e-4)
    assert (caption - nothing).abs().max() > 1e-3
    assert (all_of_it - caption).abs().max() > 1e-3


def test_a_network_without_captions_needs_no_caption_guidance() -> None:
    model = StageModel(small_network(), DiffusionConfig())
    x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    guided = batch_denoiser(model, [Prompt(txt="yes")], SamplerSettings(guidance_txt=3, clamp=False), None)
    plain, dropped = (
        batch_denoiser(model, [Prompt(txt=text)], SamplerSettings(clamp=False), None)
        for text in ("yes", "<mask><mask><mask><mask>")
    )
    expected = dropped(x, 500).eps + 3 * (plain(x, 500).eps - dropped(x, 500).eps)
    torch.testing.assert_close(guided(x, 500).eps, expected, rtol=0, atol=2e-4)
    for useless in ({"guidance_capt": 2.0}, {"autoguidance": 2.0}):
        with pytest.raises(InputError):
            batch_denoiser(model, [Prompt(txt="yes")], SamplerSettings(**useless), None)


def test_autoguidance_uses_the_second_network() -> None:
    good, weak = small_network(0), small_network(5)
    x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))

    def eps(network: UNet, **fields: Any) -> torch.Tensor:
        model = StageModel(network, DiffusionConfig(), weaker=weak)
        return batch_denoiser(model, PROMPTS[1:2], SamplerSettings(clamp=False, **fields), None)(x, 400).eps

    expected = 3 * eps(good) - 2 * eps(weak)
    torch.testing.assert_close(eps(good, autoguidance=3.0), expected, rtol=0, atol=2e-4)


def test_classes_reach_the_network() -> None:
    model = StageModel(small_network(n_classes=5), DiffusionConfig(parameterisation="v"))
    base = Cascade((Stage(model, "classes"),))
    settings = [SamplerSettings(sampler="ddim", n_steps=3)]
    prompts = [Prompt(txt="a", label=0), Prompt(txt="a", label=3), Prompt(txt="a"), Prompt(txt="a", label=4)]
    first, other, dropped, last = pictures_of(base, settings, 4, prompts=prompts).astype(int)
    assert np.abs(first - other).max() > 1
    assert np.abs(dropped - last).max() <= 1  # the last class stands for none
    with pytest.raises(InputError, match="class 5: this network knows 0 to 4"):
        pictures_of(base, settings, 4, prompts=[Prompt(txt="a", label=5)])


def test_a_class_is_for_the_stages_that_know_it(cascade: Cascade) -> None:
    model = StageModel(small_network(n_classes=5), DiffusionConfig(parameterisation="v"))
    upsampler = cascade.stages[1]
    with_classes = Cascade((Stage(model, "classes"), upsampler))
    settings = [SamplerSettings(sampler="ddim", n_steps=2)] * 2
    prompts = [Prompt(txt="a", label=label) for label in (0, 3)]
    check_prompts(with_classes, prompts)
    first, other = pictures_of(with_classes, settings, 2, prompts=prompts).astype(int)
    assert np.abs(first - other).max() > 1
    with pytest.raises(InputError, match="--class has no effect: no stage knows classes"):
        check_prompts(cascade, prompts)
    with pytest.raises(InputError, match="a class is given, and no stage knows classes"):
        next(sample_pictures(cascade, prompts, settings, 2))


def guided_cascade(base: dict[str, Any], *upsamplers: dict[str, Any]) -> Cascade:
    """Stages of 16, 32, … px that read what is said; nothing is sampled from them."""
    stages = [Stage(StageModel(small_network(text=None, **base), DiffusionConfig()), "base")]
    for i, fields in enumerate(upsamplers):
        up = UpsamplerConfig(small_size_px=16 * 2**i)
        network = small_network(image_size_px=32 * 2**i, upsampler=up, text=None, **fields)
        stages.append(Stage(StageModel(network, DiffusionConfig()), f"up{i}"))
    return Cascade(tuple(stages))


def test_of_two_scales_for_one_caption_one_would_be_dropped() -> None:
    of_captions = guided_cascade({"captions": CAPTIONS})
    with pytest.raises(InputError, match="--guidance has no effect beside --guidance-capt"):
        plan_stages(of_captions, Wishes(guidance=3, guidance_capt=5))
    for wishes in (Wishes(guidance=5), Wishes(guidance_capt=5), Wishes(guidance=1, guidance_capt=5)):
        [plan] = plan_stages(of_captions, wishes)
        assert (plan.guidance_txt, plan.guidance_capt) == (1, 5)


@pytest.mark.parametrize(
    ("stages", "wishes", "remedy"),
    [
        (({},), Wishes(guidance=2), "Leave it out."),
        (({}, {"captions": CAPTIONS}), Wishes(guidance_capt=2), "--set upsampler.guidance_capt=S."),
        (({}, {"captions": CAPTIONS}), Wishes(guidance=2), "--set upsampler.guidance_capt=S."),
        (({}, {"n_classes": 3}), Wishes(guidance=2), "--set upsampler.guidance_txt=S."),
        (({}, {"n_classes": 3}), Wishes(guidance_capt=2), "Leave it out."),
        (({}, {}, {"captions": CAPTIONS}), Wishes(guidance_capt=2), "--set upsampler2.guidance_capt=S."),
    ],
)
def test_a_scale_that_only_an_upsampler_could_use_is_shown_the_way(
    stages: tuple[dict[str, Any], ...], wishes: Wishes, remedy: str
) -> None:
    with pytest.raises(InputError, match="has no effect: base reads no") as refused:
        plan_stages(guided_cascade(*stages), wishes)
    assert str(refused.value.remedy).endswith(remedy)


def test_settings_of_a_stage_are_spelled_as_in_a_settings_file(cascade: Cascade) -> None:
    def plan(*changes: str) -> SamplerSettings:
        return plan_stages(cascade, Wishes("ddim:4", changes=changes))[0]

    unset = plan("base.guidance_interval=none", "base.fork_spacing=none", "base.dynamic_threshold=none")
    assert unset == plan()
    with pytest.raises(InputError) as refused:
        plan("base.eta=7", "base.guidance_interval=3")
    assert "base.eta: " in refused.value.what and "base.guidance_interval" in refused.value.what
    with pytest.raises(InputError) as refused:
        plan("base.etta=1", "base.eta=7")
    assert "base.etta: unknown setting. Did you mean 'eta'?" in refused.value.what.split("\n")
    assert "base.eta: " in refused.value.what


def test_steps_are_wished_for_in_one_way_or_the_other(cascade: Cascade) -> None:
    def plan(*changes: str, **recommended: Any) -> SamplerSettings:
        changes = ("base.sampler=ddim", *changes)
        return plan_stages(cascade, Wishes(changes=changes), {"base": recommended})[0]

    assert plan("base.fork_spacing=10,10", n_steps=7).fork_spacing == "10,10"
    assert (of_steps := plan("base.n_steps=5", fork_spacing="50")).n_steps == 5 and not of_steps.fork_spacing
    assert plan("base.fork_spacing=none", n_steps=7).n_steps == 7
    with pytest.raises(InputError, match="fork_spacing takes the place of n_steps: give one of them"):
        plan("base.n_steps=5", "base.fork_spacing=50")


def test_foreign_tokenizers_are_refused_not_guessed() -> None:
    model = StageModel(
        small_network(text=TEXT.model_copy(update={"tokenizer": "bpe.json"})), DiffusionConfig()
    )
    with pytest.raises(InputError, match=r"bpe\.json: only 'char'"):
        batch_denoiser(model, PROMPTS[:1], SamplerSettings(), None)


def test_negative_seeds_are_refused() -> None:
    with pytest.raises(InputError, match="seed -1"):
        Prompt(txt="a", seed=-1)


def test_grey_stages_make_rgb_pictures() -> None:
    base = StageModel(small_network(image_channels=1), DiffusionConfig())
    colouriser = StageModel(
        small_network(image_size_px=32, upsampler=UpsamplerConfig(small_size_px=16, low_res_channels=1)),
        DiffusionConfig(),
    )
    settings = [SamplerSettings(sampler="ddim", n_steps=2)] * 2
    stages = (Stage(base, "grey"), Stage(colouriser, "colouriser"))
    batch = next(sample_pictures(Cascade(stages), PROMPTS[:2], settings, 2))
    assert batch.base_pictures.shape == (2, 16, 16, 3)
    assert (batch.base_pictures[..., :1] == batch.base_pictures).all()
    assert batch.pictures.shape == (2, 32, 32, 3)
    assert not (batch.pictures[..., :1] == batch.pictures).all()


def test_colours_are_made_grey_for_a_grey_upsampler_as_in_its_training() -> None:
    up = UpsamplerConfig(small_size_px=16, low_res_channels=1)
    network = small_network(1, image_channels=1, image_size_px=32, upsampler=up)
    stage = Stage(StageModel(network, DiffusionConfig()), "grey")
    colours = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    given = [colours, np.asarray(Image.fromarray(colours).convert("L"))[..., None]]
    settings = [SamplerSettings(sampler="ddim", n_steps=2)]
    from_colour, from_grey = (
        pictures_of(
            Cascade((stage,), torch.tensor(one).permute(2, 0, 1)[None] / 127.5 - 1),
            settings,
            1,
            prompts=PROMPTS[:1],
        )
        for one in given
    )
    assert np.abs(from_colour.astype(int) - from_grey).max() <= 2


def test_noise_level_changes_the_small_picture_and_is_told(cascade: Cascade) -> None:
    plain = SamplerSettings(sampler="ddim", n_steps=3)
    results = [
        pictures_of(cascade, [plain, SamplerSettings(sampler="ddim", n_steps=3, noise_level=level)], 8)
        for level in (0, 0, 200)
    ]
    np.testing.assert_array_equal(results[0], results[1])
    assert np.abs(results[0].astype(int) - results[2]).max() > 5
    noisy = SamplerSettings(noise_level=100)
    with pytest.raises(InputError, match="noise_level has no effect on base"):
        pictures_of(cascade, [noisy, plain], 8)
    with pytest.raises(InputError, match="noise_level 1000 is beyond the 1000 levels that upsampler was"):
        pictures_of(cascade, [plain, SamplerSettings(noise_level=1000)], 8)


def test_an_upsampler_is_held_to_its_small_picture(cascade: Cascade) -> None:
    """Also where the network is told a noised one."""
    plain = SamplerSettings(sampler="ddim", n_steps=3)

    def distance(amount: float, noise_level: int) -> float:
        held = plain.model_copy(update={"low_res_consistency": amount, "noise_level": noise_level})
        batch = next(sample_pictures(cascade, PROMPTS, [plain, held], 8))
        shrunk = [Image.fromarray(one).resize((16, 16), Image.Resampling.BICUBIC) for one in batch.pictures]
        small = [np.asarray(one) for one in shrunk]
        return float(np.abs(np.stack(small).astype(float) - batch.base_pictures).mean())

    for noise_level in (0, 200):
        loose, half, held = (distance(amount, noise_level) for amount in (0.0, 0.5, 1.0))
        assert held < half < loose
    with pytest.raises(InputError, match="low_res_consistency has no effect on a base"):
        pictures_of(cascade, [SamplerSettings(low_res_consistency=1), plain], 8)


def test_what_holds_an_upsampler_is_the_picture_before_noise(
    cascade: Cascade, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[LowRes | None] = []

    def listening(
        model: StageModel, prompts: Sequence[Prompt], settings: SamplerSettings, low_res: LowRes | None
    ) -> Denoiser:
        told.append(low_res)
        return batch_denoiser(model, prompts, settings, low_res)

    monkeypatch.setattr("txtdiff.cascade.batch_denoiser", listening)
    plain = SamplerSettings(sampler="ddim", n_steps=2)
    noisy = SamplerSettings(sampler="ddim", n_steps=2, noise_level=200, low_res_consistency=1, clamp=False)
    batch = next(sample_pictures(cascade, PROMPTS, [plain, noisy], 8))
    assert told[0] is None
    assert told[1] is not None
    np.testing.assert_array_equal(to_uint8(told[1].clean), batch.base_pictures)
    assert not torch.equal(told[1].clean, told[1].pictures)
    x = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    model, elsewhere = cascade.stages[1].model, replace(told[1], clean=told[1].pictures)
    one, other = (batch_denoiser(model, PROMPTS, noisy, low)(x, 500).x0 for low in (told[1], elsewhere))
    differ = told[1].pictures - told[1].clean
    enlarged = torch.nn.functional.interpolate(differ, (32, 32), mode="bicubic", align_corners=False)
    torch.testing.assert_close(other - one, enlarged, atol=1e-4, rtol=1e-4)


def test_pictures_are_shrunk_as_the_upsampler_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    load = txtdiff.stages.read_network

    def load_with_area(checkpoint: Path, weights: Any) -> Any:
        network, config = load(checkpoint, weights)
        data = config.data.model_copy(update={"low_res": LowResConfig(filter="area")})
        return network, config.model_copy(update={"data": data})

    monkeypatch.setattr(txtdiff.stages, "read_network", load_with_area)
    paths = [bundled_stage("pretrained:mini"), bundled_stage("pretrained:mini/upsampler")]
    assert load_cascade(paths).stages[1].model.low_res.filter == "area"


def test_a_grey_small_picture_holds_the_mean_of_the_colours() -> None:
    schedule = make_schedule("cosine", 1000)
    x0 = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    small = torch.linspace(-1, 1, 8).expand(2, 1, 8, 8)

    def denoise(x: torch.Tensor, t: int) -> Prediction:
        return Prediction(x0, x, 0.25)

    smaller = partial(shrink, small_px=8, config=LowResConfig())
    held = consistent(denoise, schedule, small, smaller, 1.0)(x0, 500)
    before = (smaller(x0).mean(1, keepdim=True) - small).abs().mean()
    assert (smaller(held.x0).mean(1, keepdim=True) - small).abs().mean() < 0.2 * before
    assert held.variance_mix == 0.25
    colours = x0 - x0.mean(1, keepdim=True)
    torch.testing.assert_close(held.x0 - held.x0.mean(1, keepdim=True), colours)
    torch.testing.assert_close(schedule.signal(500) * held.x0 + schedule.noise(500) * held.eps, x0)


def test_stages_that_do_not_fit_are_named(cascade: Cascade) -> None:
    base, upsampler = cascade.stages
    wide = Stage(StageModel(small_network(image_size_px=32), DiffusionConfig()), "wide")
    grey = Stage(StageModel(small_network(image_channels=1), DiffusionConfig()), "grey")
    for stages, message in [
        ((), "at least a base"),
        ((upsampler,), "is an upsampler"),
        ((base, base), "is a base model"),
        ((wide, upsampler), "16 px, but wide makes 32 px"),
        ((grey, upsampler), "enlarges colour pictures"),
    ]:
        with pytest.raises(InputError, match=message):
            Cascade(stages)
    with pytest.raises(InputError, match="1 sampler settings for 2 stages"):
        pictures_of(cascade, [SamplerSettings()], 8)
    with pytest.raises(InputError, match="batch size 0"):
        pictures_of(cascade, settings_for("ddim"), 0)


def test_given_pictures_that_do_not_fit_are_named(cascade: Cascade) -> None:
    colouriser = small_network(
        image_size_px=32, upsampler=UpsamplerConfig(small_size_px=16, low_res_channels=1)
    )
    grey = Stage(StageModel(colouriser, DiffusionConfig()), "colouriser")
    base, upsampler = cascade.stages
    for stage, shape, message in [
        (
            upsampler,
            (1, 16, 16),
            r"takes pictures of 3 x 16 x 16 \(channels, height, width\), not 1 x 16 x 16",
        ),
        (upsampler, (4, 16, 16), "not 4 x 16 x 16"),
        (upsampler, (3, 16, 32), "not 3 x 16 x 32"),
        (upsampler, (16, 16), "not 16 x 16"),
        (grey, (2, 16, 16), "takes pictures of 1 x 16 x 16 or 3 x 16 x 16"),
        (base, (3, 16, 16), "base is a base model: it enlarges no pictures"),
    ]:
        with pytest.raises(InputError, match=message):
            Cascade((stage,), torch.zeros(2, *shape))
    settings = [SamplerSettings(sampler="ddim", n_steps=2)]
    with pytest.raises(InputError, match="6 prompts for 2 pictures"):
        pictures_of(Cascade((upsampler,), torch.zeros(2, 3, 16, 16)), settings, 8)
    for n_channels in (1, 3):
        given = Cascade((grey,), torch.zeros(1, n_channels, 16, 16))
        assert pictures_of(given, settings, 1, prompts=PROMPTS[:1]).shape == (1, 32, 32, 3)


def test_batches_are_reported_as_they_come(cascade: Cascade) -> None:
    seen: list[SampledPictures] = []
    settings = [SamplerSettings(sampler="ddim", n_steps=2)] * 2
    given_out = list(sample_pictures(cascade, PROMPTS, settings, 4, on_batch=seen.append))
    assert seen == given_out
    assert [len(batch.pictures) for batch in seen] == [4, 2]
    assert [prompt for batch in seen for prompt in batch.prompts] == PROMPTS
    assert all(batch.seconds > 0 for batch in seen)


def test_grey_levels_are_rounded_and_kept_in_range() -> None:
    levels = torch.tensor([-1.5, -1, 0.0039, 0.0041, 1, 7]).view(1, 1, 1, 6)
    assert to_uint8(levels)[0, 0, :, 0].tolist() == [0, 0, 128, 128, 255, 255]
    exact = torch.arange(256).view(1, 1, 16, 16) / 127.5 - 1
    assert to_uint8(exact)[0, :, :, 1].flatten().tolist() == list(range(256))


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        load_cascade([tmp_path / "nowhere"])
