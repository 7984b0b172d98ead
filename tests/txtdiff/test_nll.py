"""Bits per dimension against processes whose answer is known."""

from __future__ import annotations

import json
import math
import statistics
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from fork_process import CONFIG, SCHEDULE, VALUES, analytic_denoiser, analytic_network, clamped
from tiny import tiny_catalog, tiny_config
from torch import Tensor

import txtdiff.likelihood
from datatools.errors import InputError
from txtdiff.cli import nll_command
from txtdiff.data.order import index_at
from txtdiff.diffusion.denoiser import Denoiser, Prediction
from txtdiff.diffusion.losses import training_losses
from txtdiff.diffusion.nll import bits_per_dimension
from txtdiff.diffusion.noise import STEPS, NoiseSource, picture_noise
from txtdiff.diffusion.steps import parse_spacing
from txtdiff.likelihood import measure_likelihood
from txtdiff.training.trainer import train

LEVELS = torch.arange(256) / 127.5 - 1


def noise_of(n: int, size_px: int) -> NoiseSource:
    shape = (1, size_px, size_px)
    return picture_noise(range(n), shape, stage=0, purpose=STEPS, device=torch.device("cpu"))


def gaussian_denoiser(deviation: float) -> Denoiser:
    """The exact mean and variance of every step, for independent pixels that are normal about 0."""

    def denoise(x: Tensor, t: int) -> Prediction:
        signal, ab, before = SCHEDULE.signal(t), SCHEDULE.alpha_bar_at(t), SCHEDULE.alpha_bar_at(t - 1)
        spread = ab * deviation**2 + 1 - ab
        x0 = deviation**2 * signal / spread * x
        beta = 1 - ab / before
        of_x0 = beta * math.sqrt(before) / (1 - ab)
        least = beta * (1 - before) / (1 - ab)
        true = least + of_x0**2 * deviation**2 * (1 - ab) / spread
        # At t = 0 the variance of the grey levels is near the upper bound; elsewhere the mix says it exactly.
        mix = 1.0 if t == 0 else math.log(true / least) / math.log(beta / least)
        return Prediction(x0, (x - signal * x0) / SCHEDULE.noise(t), torch.full_like(x, mix))

    return denoise


def test_the_bound_of_a_gaussian_is_near_its_entropy_and_never_below() -> None:
    deviation = 0.25
    x0 = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * deviation
    x0 = LEVELS[((x0 + 1) * 127.5).round().long().clamp(0, 255)]
    total = bits_per_dimension(gaussian_denoiser(deviation), x0, SCHEDULE, noise_of(4, 32)).total
    # Differential entropy in units of a grey level, 2 / 255 wide.
    entropy = 0.5 * math.log2(2 * math.pi * math.e * deviation**2) - math.log2(2 / 255)
    assert entropy - 0.02 < total.mean().item() < entropy + 0.1


def test_a_coarser_process_bounds_more_loosely() -> None:
    x0 = LEVELS[torch.randint(100, 156, (4, 1, 16, 16), generator=torch.Generator().manual_seed(0))]
    fine, coarse = (
        bits_per_dimension(gaussian_denoiser(0.13), x0, SCHEDULE, noise_of(4, 16), kept=kept)
        for kept in (None, parse_spacing(1000, "20"))
    )
    assert coarse.terms.shape == (4, 20)
    assert fine.terms.shape == (4, 1000)
    assert coarse.total.mean() > fine.total.mean() + 0.05


def test_terms_are_those_of_the_training_loss() -> None:
    x0 = VALUES["noise"].clamp(-1, 1)
    noises = [torch.randn(x0.shape, generator=torch.Generator().manual_seed(i)) for i in range(1000)]
    drawn = iter(noises)
    steps: list[None] = []
    result = bits_per_dimension(
        analytic_denoiser(), x0, SCHEDULE, lambda: next(drawn), on_step=lambda: steps.append(None)
    )
    assert len(steps) == 1000
    for t in (0, 1, 500):
        from_training = training_losses(analytic_network, x0, torch.full((2,), t), noises[t], {}, CONFIG).vb
        assert from_training is not None
        torch.testing.assert_close(result.terms[:, t], from_training, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(result.total, result.prior + result.terms.sum(1))


def test_knowing_the_picture_costs_nothing_but_the_last_grey_levels() -> None:
    x0 = LEVELS[torch.randint(0, 256, (2, 1, 16, 16), generator=torch.Generator().manual_seed(1))]

    def denoise(x: Tensor, t: int) -> Prediction:
        return Prediction(x0, (x - SCHEDULE.signal(t) * x0) / SCHEDULE.noise(t), 0.0)

    result = bits_per_dimension(denoise, x0, SCHEDULE, noise_of(2, 16))
    assert result.terms[:, 1:].abs().max() < 1e-5
    assert result.x0_mse.max() < 1e-10
    assert result.total.max().item() == pytest.approx(result.terms[:, 0].max().item(), abs=1e-3)


def test_clamping_the_prediction_helps() -> None:
    x0 = VALUES["noise"].clamp(-1, 1)

    def total(denoiser: Denoiser) -> float:
        generator = torch.Generator().manual_seed(3)
        kept = parse_spacing(1000, "20")
        noise = partial(torch.randn, x0.shape, generator=generator)
        return bits_per_dimension(denoiser, x0, SCHEDULE, noise, kept=kept).total.mean().item()

    assert total(clamped(analytic_denoiser())) < total(analytic_denoiser())


def test_pictures_that_fail_are_told_and_classes_without_a_name_have_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = tiny_catalog(tmp_path)
    (tmp_path / "map.json").write_text(json.dumps({"000.png": 0, "001.png": 1}))
    classes = (f"data.class_map={tmp_path / 'map.json'}", "data.class_name=key", "data.class_unknown=5")
    train(tiny_config(catalog, "run.images=4", "model.n_classes=7", *classes), tmp_path / "run")
    labels: list[int] = []
    told: list[tuple[float, int]] = []
    bits = txtdiff.likelihood._bits

    def listening(network: Any, config: Any, batch: Any, *rest: Any) -> list[float]:
        labels.extend(batch.y.tolist())
        found = bits(network, config, batch, *rest)
        told.extend(zip(found, batch.y.tolist(), strict=True))
        return found

    monkeypatch.setattr(txtdiff.likelihood, "_bits", listening)
    found = measure_likelihood(tmp_path / "run", catalog, 10, 2, "cpu")
    assert sorted(labels) == [0, 1] + [5] * 8
    assert (found.n, found.failures) == (10, {})
    (tmp_path / "pictures" / "000.png").unlink()
    (tmp_path / "pictures" / "001.png").write_bytes(b"no picture")
    labels.clear()
    spoilt = measure_likelihood(tmp_path / "run", catalog, 10, 2, "cpu")
    assert (spoilt.n, spoilt.failures) == (8, {"missing": 1, "unknown_format": 1})
    assert labels == [5] * 8  # each of the others once, and no class that only the spoilt ones have
    of_the_others = [value for value, label in told if label == 5][:8]
    assert spoilt.bits == pytest.approx(statistics.mean(of_the_others))
    assert spoilt.standard_error == pytest.approx(statistics.stdev(of_the_others) / math.sqrt(8))
    with pytest.raises(typer.Exit) as ended:
        nll_command(tmp_path / "run", catalog, 10, 2, "cpu")
    assert ended.value.exit_code == 1
    first = index_at(0, 10, seed=0)
    (tmp_path / "pictures" / f"{first:03}.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="none of 1 pictures can be read"):
        measure_likelihood(tmp_path / "run", catalog, 1, 2, "cpu")
