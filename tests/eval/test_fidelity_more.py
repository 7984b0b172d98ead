"""FID-infinity, precision and recall, copies: against theory and against torch-fidelity."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_fidelity.metric_prc import calculate_precision_recall_full

from eval import fidelity

WIDTH = 8


def test_fid_infinity_takes_the_bias_away() -> None:
    """Two equal distributions are at distance 0; FID says more, the fewer pictures there are, and the end
    of the line is nearer to the truth than its best point."""
    random = np.random.default_rng(0)
    real = random.normal(size=(200_000, WIDTH))
    ends, plain = [], []
    for _ in range(10):
        features = random.normal(size=(400, WIDTH))
        found = fidelity.fid_infinity(features, real, smallest=40, n_shuffles=10)
        plain.append(fidelity.frechet_distance(features, real))
        assert found.value is not None
        assert found.standard_error is not None
        assert (found.r_squared or 0) >= 0.8
        ends.append(found.value)
    assert abs(np.mean(ends)) < 0.35 * np.mean(plain)


def test_fid_infinity_says_why_there_is_none() -> None:
    random = np.random.default_rng(1)
    few = fidelity.fid_infinity(random.normal(size=(300, WIDTH)), random.normal(size=(300, WIDTH)))
    assert few.value is None
    assert "300 pictures" in str(few.reason)
    # Far apart, the bias drowns in the noise of the mean: no line.
    far = random.normal(size=(400, WIDTH)) * 0.01 + 9
    bent = fidelity.fid_infinity(far, random.normal(size=(400, WIDTH)), smallest=300, n_shuffles=1)
    assert bent.value is None
    assert "no straight line" in str(bent.reason)


def test_fid_infinity_is_a_function_of_its_seed() -> None:
    random = np.random.default_rng(2)
    a, b = random.normal(size=(200, WIDTH)), random.normal(size=(300, WIDTH))
    first = fidelity.fid_infinity(a, b, smallest=20)
    assert fidelity.fid_infinity(a, b, smallest=20) == first


@pytest.mark.parametrize("k", [3, 5])
def test_precision_and_recall_are_torch_fidelity_s(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eval.fidelity.neighbours.ROWS_AT_ONCE", 64)  # several blocks
    random = np.random.default_rng(3)
    ours = random.normal(size=(150, WIDTH)).astype(np.float32)
    real = (random.normal(size=(200, WIDTH)) * 1.4 + 0.3).astype(np.float32)
    precision, recall = calculate_precision_recall_full(torch.from_numpy(ours), torch.from_numpy(real), k)
    found = fidelity.precision_recall(ours, real, k)
    assert found.precision == pytest.approx(precision, abs=1e-6)
    assert found.recall == pytest.approx(recall, abs=1e-6)


def test_density_and_coverage_by_their_definition() -> None:
    random = np.random.default_rng(4)
    ours, real, k = random.normal(size=(40, 3)), random.normal(size=(50, 3)) + 0.5, 4
    radius = np.sort(np.linalg.norm(real[:, None] - real[None], axis=2), axis=1)[:, k]
    inside = np.linalg.norm(ours[:, None] - real[None], axis=2) <= radius
    found = fidelity.precision_recall(ours, real, k)
    assert found.density == pytest.approx(inside.sum() / (k * len(ours)))
    assert found.coverage == pytest.approx(inside.any(axis=0).mean())
    with pytest.raises(ValueError, match="more than k"):
        fidelity.precision_recall(ours[:4], real, 4)


def test_a_copy_is_found_at_distance_zero() -> None:
    random = np.random.default_rng(5)
    training = random.normal(size=(100, WIDTH)).astype(np.float32)
    found = fidelity.nearest(np.vstack([training[[17, 3]], training[:1] + 50]), training, k=2)
    assert found.which[:2, 0].tolist() == [17, 3]
    assert found.distance[:2, 0].tolist() == [0, 0]
    assert found.distance[2, 0] > 100
    assert (np.diff(found.distance, axis=1) >= 0).all()


def test_the_floor_is_drawn_from_the_reference_without_overlap() -> None:
    reference = np.arange(20.0)[:, None]
    split = fidelity.hold_out(reference, 8)
    assert split is not None
    assert len(split[0]) == 8
    assert sorted(np.concatenate(split).ravel()) == list(range(20))
    assert fidelity.hold_out(reference, 11) is None
