"""Averages: the exact mean at first, exponential later (fork_spec 8.4)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from txtdiff.training.averaging import start_averages, update_averages


def scalar(value: float) -> nn.Module:
    module = nn.Module()
    module.weight = nn.Parameter(torch.tensor([value]))
    return module


def set_and_update(module: nn.Module, averages: object, value: float, start: str = "arithmetic") -> None:
    with torch.no_grad():
        module.weight.fill_(value)
    update_averages(averages, dict(module.named_parameters()), start)


def test_the_forks_numbers() -> None:
    """From 0 with all later weights 1: 0.5, 0.667, 0.75, 0.8, as measured on the fork."""
    module = scalar(0.0)
    averages = start_averages(module, [0.9999])
    seen = []
    for _ in range(4):
        set_and_update(module, averages, 1.0)
        seen.append(averages.by_rate[0.9999]["weight"].item())
    assert seen == pytest.approx([1 / 2, 2 / 3, 3 / 4, 4 / 5])


def test_exponential_from_where_the_rate_takes_over() -> None:
    module = scalar(0.0)
    averages = start_averages(module, [0.5, 0.9])
    values = [1.0, 3.0, 5.0, 2.0, 8.0, 4.0, 9.0, 1.0, 0.0, 7.0, 6.0, 2.0]
    for value in values:
        set_and_update(module, averages, value)
    fast = 0.0
    for value in values:
        fast = 0.5 * fast + 0.5 * value  # 1/(1-0.5) = 2: exponential from the first step
    slow = sum(values[:9]) / 10  # 0.0 and nine values: the mean of 1/(1-0.9) = 10
    for value in values[9:]:
        slow = 0.9 * slow + 0.1 * value
    assert averages.by_rate[0.5]["weight"].item() == pytest.approx(fast)
    assert averages.by_rate[0.9]["weight"].item() == pytest.approx(slow, rel=1e-5)


def test_exponential_from_the_start() -> None:
    module = scalar(0.0)
    averages = start_averages(module, [0.9])
    set_and_update(module, averages, 1.0, start="exponential")
    assert averages.by_rate[0.9]["weight"].item() == pytest.approx(0.1)


def test_frozen_weights_are_left_out_and_the_start_is_a_copy() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[0].requires_grad_(False)
    averages = start_averages(module, [0.9])
    assert set(averages.by_rate[0.9]) == {"1.weight", "1.bias"}
    before = averages.by_rate[0.9]["1.weight"].clone()
    with torch.no_grad():
        module[1].weight += 1
    assert torch.equal(averages.by_rate[0.9]["1.weight"], before)
