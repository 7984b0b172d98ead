"""How much of the machine's matmul rate a run uses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import tiny_catalog, tiny_config
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from txtdiff.model.config import CaptionConfig, ModelConfig, TowerSize, UpsamplerConfig
from txtdiff.model.unet import build_network
from txtdiff.training.trainer import train
from txtdiff.training.utilisation import flops_per_picture, matmul_flops_per_s

TOWER = CaptionConfig(tower="custom", size=TowerSize(width=32, layers=2, heads=2), weights="random")


def test_operations_counted_without_storage_are_those_of_a_real_step() -> None:
    config = ModelConfig(
        image_size_px=32,
        channels=32,
        channel_mult=(1, 2),
        captions=TOWER,
        upsampler=UpsamplerConfig(small_size_px=16, noise_conditioning=True),
        n_classes=3,
    )
    given = {
        "txt": torch.ones(1, 32, dtype=torch.long),
        "capt": torch.ones(1, 77, dtype=torch.long),
        "low_res": torch.zeros(1, 3, 16, 16),
        "cond_timesteps": torch.zeros(1),
        "y": torch.zeros(1, dtype=torch.long),
    }
    with FlopCounterMode(display=False) as counter:
        build_network(config)(torch.zeros(1, 3, 32, 32), torch.zeros(1), **given).sum().backward()
    counted = flops_per_picture(config)
    # The kernel of attention on a CPU computes its weights again in the backward pass.
    assert abs(counted / counter.get_total_flops() - 1) < 0.05
    again = config.model_copy(update={"recompute_resolutions_px": (32, 16)})
    assert flops_per_picture(again) == counted


def test_a_run_says_how_much_of_the_matmul_rate_it_uses(tmp_path: Path) -> None:
    train(tiny_config(tiny_catalog(tmp_path)), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "speed.jsonl").read_text().splitlines()]
    assert lines and all(0 < line["mfu"] < 1 for line in lines)


def test_the_matmul_rate_is_measured() -> None:
    assert 1e9 < matmul_flops_per_s(torch.device("cpu"), torch.float32) < 1e14


@pytest.mark.parametrize("what", ["model", "blocks"])
def test_a_compiled_run_trains_the_same_weights(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced as inductor would have it, but without its C++, which takes minutes."""
    compiled: list[str] = []

    def compile_without_cpp(module: nn.Module) -> None:
        compiled.append(type(module).__name__)
        module._compiled_call_impl = torch.compile(module._call_impl, backend="eager")

    monkeypatch.setattr(nn.Module, "compile", compile_without_cpp)
    catalog = tiny_catalog(tmp_path)
    weights = []
    for compile_ in ("off", what):
        out = tmp_path / compile_
        train(tiny_config(catalog, f"run.compile={compile_}", "run.images=8"), out)
        weights.append(load_file(out / "step-8" / "model.safetensors"))
    assert set(compiled) == ({"UNet"} if what == "model" else {"ResBlock", "SelfAttention", "TextLayer"})
    for name, weight in weights[0].items():
        torch.testing.assert_close(weight, weights[1][name], rtol=0, atol=1e-5)
