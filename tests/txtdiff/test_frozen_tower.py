"""Checkpoints from before a frozen tower's final norm was frozen with it: loaded, gone on from, mixed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import tiny_catalog, tiny_config

from txtdiff.config import RunConfig
from txtdiff.model.caption_encoder import CaptionEncoder
from txtdiff.training.contents import OPTIMIZER, average_file, profile_file, read_header
from txtdiff.training.profiles import synthesise
from txtdiff.training.trainer import train
from txtdiff.training.weights import load_network

NORM = ["caption_encoder.norm.bias", "caption_encoder.norm.weight"]
CAPTIONS = (
    "model.captions.tower=custom",
    "model.captions.size={width=32, layers=2, heads=2}",
    "model.captions.weights=random",
    "model.captions.layer=final",
)


def config_of(catalog: Path, images: int) -> RunConfig:
    kept = ("averaging.lengths=0.1", "averaging.snapshot_every_images=8", "optim.warmup_images=0")
    return tiny_config(catalog, *CAPTIONS, *kept, f"run.images={images}", "optim.lr=0.01")


def freeze_all_but_the_norm(encoder: CaptionEncoder) -> None:
    """As it was."""
    for name, weight in encoder.named_parameters():
        weight.requires_grad_(not encoder.frozen or name.startswith("norm."))


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """A run in which the norm was trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CaptionEncoder, "_freeze", freeze_all_but_the_norm)
        train(config_of(tiny_catalog(tmp_path), 16), tmp_path / "run")
    return tmp_path / "run"


def norm_names(file: Path) -> list[str]:
    return sorted(name for name in read_header(file) if "caption_encoder." in name)


def test_it_is_sampled_with_the_averages_it_has(before: Path) -> None:
    assert norm_names(before / "step-16" / average_file(0.9)) == NORM
    averaged, raw = (load_network(before, which)[0].state_dict() for which in ("averaged", "raw"))
    for name in NORM:
        assert not torch.equal(averaged[name], raw[name])


def test_it_goes_on_with_the_norm_as_it_was(before: Path, tmp_path: Path) -> None:
    reached = load_network(before, "raw")[0].state_dict()
    train(config_of(tmp_path / "catalog.duckdb", 32), before)
    newer = before / "step-32"
    for file in (average_file(0.9), average_file(0.5), profile_file(0.1), OPTIMIZER):
        assert norm_names(newer / file) == []
    now = load_network(before)[0].state_dict()
    for name in NORM:
        assert torch.equal(now[name], reached[name])
    mixed = load_network(synthesise(before, 0.12, tmp_path / "mixed"))[0].state_dict()
    assert torch.equal(mixed[NORM[0]], reached[NORM[0]])
