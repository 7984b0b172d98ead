"""Learning rates, their course, and precision: as the fork trained, group by group (fork_spec 8.1 to 8.5)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tiny import tiny_catalog, tiny_config

from txtdiff.data.batch import collate, conditions_of
from txtdiff.data.dataset import PictureDataset
from txtdiff.data.source import read_rows
from txtdiff.fork.model import model_config, numbering_config
from txtdiff.fork.optimizer import fork_groups
from txtdiff.fork.parse import parse_fork_flags
from txtdiff.fork.weights import our_names
from txtdiff.model.unet import build_network
from txtdiff.training.config import OptimConfig
from txtdiff.training.distributed import Ranks
from txtdiff.training.metrics import averages_of
from txtdiff.training.optimizer import make_optimizer, parameter_kinds, rate_factor
from txtdiff.training.start import start_or_resume
from txtdiff.training.step import autocast, train_step

PARITY = Path(__file__).parent / "parity"
NETWORKS = ["base_nocapt_fused", "up_fused", "crossattn_plain_torch", "notxt_torch", "mono_torch"]


def kind_of(group: list[str]) -> str:
    """The learning rate of one of the fork's groups: text_lr for text, cross-attention and weave."""
    name = group[0]
    if "text_encoder" in name:
        return "text"
    if "gain" in name:
        return "gain"
    return "text" if "cross_attn." in name or "weave_attn." in name else "other"


@pytest.mark.parametrize("network", NETWORKS)
def test_every_weight_has_the_forks_learning_rate(network: str) -> None:
    with safe_open(PARITY / f"{network}.safetensors", "pt") as file:
        facts = file.metadata()
    upsampler = facts["upsampler"] == "True"
    flags = parse_fork_flags(facts["flags"].split(), "super_res_train" if upsampler else "image_train")
    names = our_names(json.loads(facts["state"]), numbering_config(flags))
    kinds = parameter_kinds(build_network(model_config(flags)))
    expected = {names[name]: kind_of(group) for group in fork_groups([*names], 3) for name in group}
    assert {name: kinds[name] for name in expected if name in kinds} == {
        name: kind for name, kind in expected.items() if name in kinds
    }
    assert len(kinds) > 50


def test_zero_initialised_factors_go_with_the_text(tmp_path: Path) -> None:
    """Called `g` in the fork, not `gain`: those of the text encoder's layers and of the weave perceptron."""
    changes = ("model.text.norm=rezero", "model.text.attention.weave.feed_forward_rezero=true")
    kinds = parameter_kinds(build_network(tiny_config(tmp_path / "c", *changes).model))
    zeros = {
        name: kind for name, kind in kinds.items() if "rezero" in name or "encoder.layers.0.gain" in name
    }
    assert len(zeros) >= 2 and {*zeros.values()} == {"text"}


def test_groups_have_their_rates_and_frozen_weights_none(tmp_path: Path) -> None:
    config = tiny_config(tiny_catalog(tmp_path), "optim.text_lr=0.5", "optim.gain_lr=0.25", "optim.beta2=0.9")
    network = build_network(config.model)
    network.head.bias.requires_grad_(False)
    optimizer = make_optimizer(network, config.optim)
    rates = {id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    by_kind = {"text": 0.5, "gain": 0.25, "other": 1e-3}
    weights = dict(network.named_parameters())
    for name, kind in parameter_kinds(network).items():
        assert rates.pop(id(weights[name])) == by_kind[kind]
    assert not rates
    assert all(group["eps"] == 1e-8 and group["betas"] == (0.9, 0.9) for group in optimizer.param_groups)


def test_the_course_of_the_rate() -> None:
    """fork_spec 8.2 in steps g of 8 pictures: warm-up over 10 steps, then down to 0 over 40."""
    config = OptimConfig(warmup_images=80, anneal_images=320)
    for g in range(60):
        warm = min(1, (g + 1) / 10)
        fork = warm if warm < 1 else max(0, 1 - max(0, g - 10) / 40)
        assert rate_factor(8 * g, 8, config) == pytest.approx(fork)
    again = OptimConfig(warmup_images=80, warmup_from_image=800)
    assert [rate_factor(8 * g, 8, again) for g in (99, 100, 104, 109, 500)] == pytest.approx(
        [0, 0.1, 0.5, 1, 1]
    )
    assert rate_factor(10**9, 8, OptimConfig()) == 1


@pytest.mark.filterwarnings("ignore:CUDA is not available")
@pytest.mark.parametrize(
    ("precision", "device", "dtype"),
    [
        ("fp32", "cuda", None),
        ("bf16", "cuda", torch.bfloat16),
        ("fp16", "cuda", torch.float16),
        ("bf16", "cpu", None),
        ("fp16", "cpu", None),
    ],
)
def test_precision_of_forward_and_backward(
    tmp_path: Path, precision: str, device: str, dtype: torch.dtype | None
) -> None:
    context = autocast(tiny_config(tmp_path / "c", f"optim.precision={precision}"), torch.device(device))
    assert (context.fast_dtype if isinstance(context, torch.autocast) else None) == dtype


def test_gradients_are_scaled_down_to_the_limit(tmp_path: Path) -> None:
    """One step of plain descent, so to speak: AdamW's first moments are a tenth of the clipped gradients."""
    catalog, moments = tiny_catalog(tmp_path), {}
    for limit in ("none", "0.001"):
        config = tiny_config(catalog, f"optim.clip_grad_norm={limit}")
        device, ranks = torch.device("cpu"), Ranks()
        state = start_or_resume(config, tmp_path / limit, device, ranks)
        data = PictureDataset(
            read_rows(config.data, "needed"), config.data, resolution_px=16, seed=0, uses_text=True
        )
        batch = collate([data[i] for i in range(4)], conditions_of(config.model))
        train_step(state, batch, state.network, ranks, device)
        norms = [moments_["exp_avg"].square().sum() for moments_ in state.optimizer.state.values()]
        moments[limit] = float(torch.stack(norms).sum().sqrt()) * 10
        assert averages_of(state.totals)["grad_norm"] > 0.001  # the log has the norm before it was limited
    assert moments["none"] > 0.01 and moments["0.001"] == pytest.approx(0.001, rel=1e-3)
