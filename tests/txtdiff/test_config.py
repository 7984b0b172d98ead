"""Settings: layers, errors with a remedy, and a tree in which nothing is written for nothing."""

from __future__ import annotations

import ast
import re
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import txtdiff
from datatools.errors import InputError
from txtdiff.config import RunConfig
from txtdiff.config_files import (
    config_from_toml,
    config_to_toml,
    environment_layer,
    file_layer,
    make_config,
    preset_layer,
    preset_names,
    settings_layer,
    validated,
)
from txtdiff.config_reference import annotated
from txtdiff.model.unet import build_network
from txtdiff.sampler_settings import SamplerSettings
from txtdiff.settings import Settings


def groups_of(group: type[Settings], path: str = "") -> Iterator[tuple[str, type[Settings]]]:
    yield path, group
    for name, field in group.model_fields.items():
        for kind in (field.annotation, *typing.get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, Settings):
                yield from groups_of(kind, f"{path}.{name}".lstrip("."))


def changed(*pairs: str) -> RunConfig:
    return make_config(settings_layer(pairs))


def test_later_layers_win(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[optim]\nlr = 1.0\nbeta1 = 0.5\n[data]\nbatch_size = 2\n[run]\nseed = 3\n")
    environment = {
        "TXTDIFF_OPTIM__LR": "2",
        "TXTDIFF_DATA__CROP__PROBABILITY": "0.5",
        "TXTDIFF_INCEPTION": "x",
    }
    config = make_config(file_layer(file), environment_layer(environment), settings_layer(["optim.lr=3"]))
    assert (config.optim.lr, config.optim.beta1, config.data.batch_size) == (3, 0.5, 2)
    assert config.data.crop.probability == 0.5


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("model.channel_mult=1,2,2,4", (1, 2, 2, 4)),
        ("model.channel_mult=[1, 2]", (1, 2)),
        ("averaging.rates=0.9,0.99", (0.9, 0.99)),
        ("run.images=4k", 4000),
        ("run.images=1M", 1_000_000),
        ("optim.lr=1e-4", 1e-4),
        ("model.text=none", None),
        ("data.where=n_lines <= 3, or so", "n_lines <= 3, or so"),
        ("run.trackers=tensorboard,wandb", ("tensorboard", "wandb")),
        ("model.attention.resolutions_px=16,", (16,)),
    ],
)
def test_values_on_the_command_line(pair: str, value: object) -> None:
    found: object = changed(pair)
    for name in pair.split("=")[0].split("."):
        found = getattr(found, name)
    assert found == value


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["optim.lrr=1"], "optim.lrr: unknown setting. Did you mean 'lr'?"),
        (["optimm.lr=1"], "Did you mean 'optim'?"),
        (["model.text.depht=2"], "Did you mean 'depth'?"),
        (["optim.lr=-1"], "optim.lr: Input should be greater than 0"),
        (["optim.lr"], "no setting"),
        (["run.images=4q"], "'4q' is not a count"),
        (["run.device=tpu"], "run.device"),
        (["data.crop.min_area=0.5"], "data.crop.min_area has no effect: data.crop.probability is 0"),
        (["data.no_text.min_area=0.5"], "data.no_text.min_area has no effect"),
        (
            ["data.crop.probability=1", "data.crop.min_area=0.9", "data.crop.max_area=0.5"],
            "min_area is above",
        ),
        (["data.low_res.filter=area"], "model.upsampler is none"),
        (["model.predicts_variance=false"], "does not go with diffusion.variance"),
        (["diffusion.low_res_noise.max_step=9"], "both or none"),
        (["model.text=none", "data.drop_txt=0.5"], "data.drop_txt has no effect: model.text is none"),
        (["data.safeboxes=x"], "data.folder is none"),
        (["optim.loss_scale_log2=3"], 'optim.precision is not "fp16"'),
        (["data.workers=0", "data.prefetch=4"], "data.workers is 0"),
        (["averaging.rates=0.9,0.9"], "given twice"),
        (["model.attention.heads=3"], "attention: 3 heads cannot share the 512 channels of the feature map"),
        (["model.text.attention.heads=3"], "text.attention: 3 heads cannot share the text.width = 128"),
        (
            [
                "model.text.attention.heads=32",
                "model.text.attention.weave.qkv_width=image",
                "model.channels=24",
                "model.attention.channels_per_head=none",
            ],
            "text.attention: 32 heads cannot share the 72 channels of the feature map of 16 px",
        ),
        (["model.text.attention.gain_scale=0"], "gain_scale: Input should be greater than 0"),
        (["model.text.max_length=1"], "max_length: Input should be greater than or equal to 2"),
        (["model.channel_mult=0.001,1"], "leaves a level no channel of 128"),
        (["model.channel_mult=-1,1"], "model.channel_mult.0: Input should be greater than 0"),
        (["model.captions.size.heads=3"], "3 heads cannot share a width of 512"),
        (
            ["model.text.attention.resolutions_px=7"],
            "model.text.attention.resolutions_px leaves no text layer: the network has feature maps of 64, "
            "32, 16, 8 px only",
        ),
        (["model.attention.kind=none"], "model.text has no effect: model.attention.kind = none"),
        (
            ["model.attention.resolutions_px=7"],
            "model.attention.resolutions_px has no effect: the network has",
        ),
        (
            ["model.recompute_resolutions_px=5"],
            "model.recompute_resolutions_px has no effect: the network has",
        ),
        (["model.text.attention.resolutions_px=[]"], "leaves no text layer"),
        (["model.channel_mult=1e308,1"], "model.channel_mult.0: Input should be less than or equal to 256"),
        (
            [
                "model.upsampler.small_size_px=8",
                "data.low_res.blur_probability=1",
                "data.low_res.blur_kernel_px=17",
            ],
            "data.low_res.blur_kernel_px must be below twice the small picture's edge, 16",
        ),
        (["optim.lr=inf"], "optim.lr: Input should be a finite number"),
        (["model.channel_mult=nan,1"], "model.channel_mult.0: Input should be a finite number"),
    ],
)
def test_what_is_wrong_is_said(pairs: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        changed(*pairs)
    assert message in str(caught.value)


def test_a_group_alone_is_read_as_the_whole_is() -> None:
    layer = settings_layer(["guidance_interval=none", "fork_spacing=none", "guidance_txt=3"])
    settings = validated(SamplerSettings, layer)
    assert (settings.guidance_interval, settings.fork_spacing, settings.guidance_txt) == (None, None, 3)
    with pytest.raises(InputError) as caught:
        validated(SamplerSettings, {"n_step": 3, "clamp": "perhaps"}, "base", "Look it up.")
    what = caught.value.what.split("\n")
    assert caught.value.remedy == "Look it up." and len(what) == 2
    assert "base.n_step: unknown setting. Did you mean 'n_steps'?" in what
    assert any(line.startswith("base.clamp: Input should be a valid boolean") for line in what)
    with pytest.raises(InputError, match=r"base\.guidance_txt: Input should be a finite number"):
        validated(SamplerSettings, {"guidance_txt": float("nan")}, "base")
    with pytest.raises(InputError, match=r"^base: eta does nothing for dpmpp_2m"):
        validated(SamplerSettings, {"eta": 1}, "base")


def test_a_checkpoint_may_have_settings_that_do_nothing() -> None:
    """They were no error when it was made, or are none in the fork; its weights are not lost over them."""
    idle = ["model.recompute_resolutions_px=[5]", "optim.caption_lr=1e-5"]
    with pytest.raises(InputError, match="no effect"):
        changed(*idle)
    text = "[model]\nrecompute_resolutions_px = [5]\n[optim]\ncaption_lr = 1e-5\n"
    assert config_from_toml(text, "config.toml").model.recompute_resolutions_px == (5,)
    with pytest.raises(InputError, match=r"config\.toml: .*belong together"):
        config_from_toml(text + "[diffusion.low_res_noise]\n", "config.toml")


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        file_layer(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[optim\n")
    with pytest.raises(InputError, match="TOML"):
        file_layer(tmp_path / "bad.toml")
    with pytest.raises(InputError, match="mini-base"):
        preset_layer("mini-bace")
    with pytest.raises(InputError, match="no preset"):
        preset_layer("../../secrets")


def test_every_path_may_begin_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    names = ("safeboxes", "px_scales", "captions")
    config = changed("data.folder=~/p", "run.init=~/run", *(f"data.{name}=~/a" for name in names))
    assert (config.data.folder, config.run.init) == (tmp_path / "p", tmp_path / "run")
    assert all(getattr(config.data, name) == tmp_path / "a" for name in names)
    assert changed("data.catalog=~/c.duckdb").data.catalog == tmp_path / "c.duckdb"
    classes = changed("model.n_classes=3", "data.class_map=~/map.json")
    assert classes.data.class_map == tmp_path / "map.json"
    assert changed("data.folder=a/b").data.folder == Path("a/b")


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_valid_and_survive_a_round_trip(name: str) -> None:
    config = make_config(preset_layer(name))
    assert config_from_toml(config_to_toml(config), name) == config
    assert config_from_toml(annotated(config), name) == config


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "model": st.sampled_from([{"text": "none"}, {"captions": {"frozen": False}}, {"channels": 32}]),
            "run": st.fixed_dictionaries(
                {"seed": st.integers(0, 2**63 - 1), "images": st.integers(0, 2**40)}
            ),
            "averaging": st.fixed_dictionaries(
                {"rates": st.lists(st.floats(1e-6, 1 - 1e-6), min_size=1, max_size=3, unique=True)}
            ),
            "data": st.fixed_dictionaries(
                {"where": st.text(min_size=1, max_size=20).filter(lambda t: t != "none")}
            ),
        },
    )
)
def test_any_config_survives_toml(layer: dict) -> None:
    config = make_config(layer)
    assert config_from_toml(config_to_toml(config), "test") == config
    assert config_from_toml(annotated(config), "test") == config


def test_every_setting_is_documented() -> None:
    for path, group in groups_of(RunConfig):
        for name, field in group.model_fields.items():
            assert field.description, f"{path}.{name}"


def test_every_setting_is_printed_with_its_group_even_where_that_is_unset() -> None:
    printed: dict[str, str] = {"": ""}
    path = ""
    for line in annotated(RunConfig()).splitlines():
        heading = re.fullmatch(r"#?\[([a-z_.]+)\]", line)
        path = heading.group(1) if heading else path
        printed[path] = f"{printed.get(path, '')}\n{line}"
    for path, group in groups_of(RunConfig):
        for name in group.model_fields:
            if (path + "." + name).lstrip(".") not in printed:  # the heading of a group stands for it
                assert re.search(rf"^#?{name} = ", printed[path], re.MULTILINE), f"{path}.{name}"
    assert '#tower = "ViT-L-14-336-quickgelu"' in printed["model.captions"]
    assert "#small_size_px = 64" in printed["model.upsampler"]


def commented_blocks(text: str) -> Iterator[tuple[str, str]]:
    """Each group that is commented out, by its path: its lines without their marks."""
    for block in re.split(r"(?m)^(?=#?\[)", text):
        if block.startswith("#["):
            yield block[2 : block.index("]")], re.sub(r"(?m)^#(?! )", "", block)


@pytest.mark.parametrize("pairs", [(), ("model.text=none",)])
def test_what_is_commented_out_comes_into_force_without_its_mark(pairs: tuple[str, ...]) -> None:
    text = annotated(changed(*pairs))
    kinds = dict(groups_of(RunConfig))
    blocks = dict(commented_blocks(text))
    assert {"model.captions", "model.captions.size", "model.upsampler", "data.synth"} <= {*blocks}
    for path, block in blocks.items():
        found: Any = tomllib.loads(block)
        for name in path.split("."):
            found = found[name]
        own = {name for name in kinds[path].model_fields if f"{path}.{name}" not in kinds}
        assert {*found} == own, path
        validated(kinds[path], found)
    whole = tomllib.loads(re.sub(r"(?m)^#(?! )", "", annotated(RunConfig())))
    for name in ("captions", "upsampler"):
        kind = kinds[f"model.{name}"]
        own = {key: value for key, value in whole["model"][name].items() if key != "size"}
        assert validated(kind, own) == kind.model_construct()


def test_a_group_that_is_off_is_told_from_its_settings_below() -> None:
    text = annotated(changed("model.text=none"))
    lines = text.split("\n")
    assert lines[lines.index("#[model.text]") - 1] == '# In place of text = "none" above.'
    whole = tomllib.loads(re.sub(r"(?m)^#(?! )", "", text.replace('\ntext = "none"\n', "\n")))
    default = RunConfig().model.text
    assert default is not None
    assert validated(type(default), whole["model"]["text"]) == default


def test_every_setting_is_read_somewhere() -> None:
    """A setting whose name no code outside the settings classes mentions would be one that does nothing."""
    package = Path(txtdiff.__file__).parent
    read: set[str] = set()
    for path in package.rglob("*.py"):
        if path.name == "config.py" or "fork" in path.parts:
            continue
        read |= {
            node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)
        }
    # Settings from which a property derives what is read count as read.
    derived = "".join(path.read_text() for path in package.rglob("config.py"))
    read |= set(re.findall(r"return .*self\.(\w+)", derived))
    unread = [
        f"{path}.{name}"
        for path, group in groups_of(RunConfig)
        for name in group.model_fields
        if name not in read
    ]
    assert not unread


@pytest.mark.parametrize(("name", "millions"), [("base-64", 631.0), ("upsampler-64-256", 123.9)])
def test_the_full_presets_are_the_forks_networks(name: str, millions: float) -> None:
    """Parameters as counted on the parent project, caption tower aside (fork_spec 5.4 and 5.6)."""
    with torch.device("meta"):
        network = build_network(make_config(preset_layer(name)).model)
    tower = () if network.caption_encoder is None else network.caption_encoder.parameters()
    n = sum(p.numel() for p in network.parameters()) - sum(p.numel() for p in tower)
    assert round(n / 1e6, 1) == millions
