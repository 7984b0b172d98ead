"""Averages of any length, made after training, are those that would have been tracked."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from tiny import tiny_catalog, tiny_config
from torch import Tensor

from txtdiff.cli import main
from txtdiff.training.averaging import Averages, update_averages
from txtdiff.training.power_average import Profile, exponent_of, mixture, new_share
from txtdiff.training.trainer import train
from txtdiff.training.weights import load_network


@pytest.mark.parametrize("length", [0.01, 0.05, 0.1, 0.25, 0.287])
def test_the_length_is_the_standard_deviation_of_the_profile(length: float) -> None:
    t = (np.arange(200_000) + 0.5) / 200_000
    g = exponent_of(length)
    density = (g + 1) * t**g / 200_000
    mean = (density * t).sum()
    assert density.sum() == pytest.approx(1, abs=1e-4)
    assert np.sqrt((density * (t - mean) ** 2).sum()) == pytest.approx(length, rel=1e-3)


def test_the_published_exponents() -> None:
    """Karras et al. 2024, section 3.1: lengths 0.05 and 0.10 are exponents 16.97 and 6.94."""
    assert exponent_of(0.05) == pytest.approx(16.97, abs=0.01)
    assert exponent_of(0.10) == pytest.approx(6.94, abs=0.01)


def track(weights: Tensor, lengths: list[float], every: int = 10**9) -> tuple[Averages, dict]:
    """Averages of a course of weights (n, d), and copies of them now and then."""
    averages = Averages(1, {}, {length: {"w": torch.zeros_like(weights[0])} for length in lengths})
    copies = {}
    for step, now in enumerate(weights, start=1):
        update_averages(averages, {"w": now})
        if step % every == 0:
            for length in lengths:
                copies[Profile(length, step)] = averages.by_length[length]["w"].clone()
    return averages, copies


def test_shares_of_the_steps_are_differences_of_powers() -> None:
    n, g = 50, exponent_of(0.1)
    averages, _ = track(torch.eye(n), [0.1])
    steps = np.arange(n + 1.0) / n
    assert averages.by_length[0.1]["w"].numpy() == pytest.approx(np.diff(steps ** (g + 1)), abs=1e-6)
    assert new_share(1, 0.1) == 1


@pytest.mark.parametrize("length", [0.04, 0.05, 0.07, 0.1, 0.13, 0.2])
def test_a_mixture_of_copies_is_the_average_tracked_directly(length: float) -> None:
    chance = torch.Generator().manual_seed(0)
    course = torch.randn(1000, 300, generator=chance).cumsum(0) / 30
    _, copies = track(course, [0.05, 0.1], every=50)
    for end in (1000, 750):  # the last copy, and one in the middle of the run
        tracked, _ = track(course[:end], [length])
        used = [profile for profile in copies if profile.step <= end]
        shares, distance = mixture(used, Profile(length, end))
        mixed = sum(share * copies[profile] for share, profile in zip(shares, used, strict=True))
        wanted = tracked.by_length[length]["w"]
        apart = (mixed - wanted).norm() / (
            wanted - copies[Profile(0.05 if length > 0.07 else 0.1, end)]
        ).norm()
        near = 0.02 if length < 0.2 else 0.06  # further from the lengths kept
        assert sum(shares) == pytest.approx(1) and distance < near and apart < near


def test_few_copies_are_a_coarse_mixture() -> None:
    one = mixture([Profile(0.05, 100)], Profile(0.2, 100))
    assert one[0].tolist() == [pytest.approx(1)] and one[1] > 0.5


def test_from_a_run_to_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalog = tiny_catalog(tmp_path)
    every = ("run.images=160", "averaging.snapshot_every_images=16", "optim.lr=0.003")
    config = tiny_config(catalog, "averaging.lengths=0.05,0.1", *every)
    stops = iter([False] * 12 + [True] + [False] * 99)
    assert train(config, tmp_path / "run", lambda: next(stops)).kind == "stopped"
    stray = tmp_path / "run" / "profiles" / "length-0.05-step-99-images-9999.safetensors"
    stray.write_bytes(b"of a run that was killed later")
    train(config, tmp_path / "run")
    assert not stray.exists() and len(list(stray.parent.iterdir())) == 20
    train(tiny_config(catalog, "averaging.lengths=0.07", *every), tmp_path / "direct")

    def convert(*words: object) -> int:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr(sys, "argv", ["txtdiff", "convert", str(tmp_path / "run"), *map(str, words)])
            main()
        return int(ended.value.code or 0)

    assert convert("--ema-length", "0.07", "--out", tmp_path / "made") == 0
    assert capsys.readouterr().out.strip().endswith("made/step-160")
    made = load_network(tmp_path / "made")[0].state_dict()
    files = {0.07: "direct", 0.05: "run", 0.1: "run"}
    kept = {
        length: safetensors.torch.load_file(tmp_path / run / "step-160" / f"profile-{length}.safetensors")
        for length, run in files.items()
    }

    def distance(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
        return float(sum((a[name] - b[name]).square().sum() for name in kept[0.07]) ** 0.5)

    assert distance(made, kept[0.07]) < 0.1 * min(distance(kept[x], kept[0.07]) for x in (0.05, 0.1))
    assert convert("--ema-length", "0.07", "--images", "64", "--out", tmp_path / "early") == 0
    assert (tmp_path / "early" / "step-64").is_dir()
    for words, message in [
        (["--ema-length", 0.4], "is no length"),
        (["--ema-length", 0.1, "--images", 63], "has no copy at 63 images"),
        (["--images", 64], "has no effect without --ema-length"),
        (["--ema-length", 0.1, "--step", 3], "have no effect with --ema-length"),
    ]:
        capsys.readouterr()
        assert convert(*words, "--out", tmp_path / "x") == 2
        assert message in capsys.readouterr().err.replace("\n", " ")
