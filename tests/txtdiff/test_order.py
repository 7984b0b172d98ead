"""Order and chance are functions of seed and position: nothing else may matter."""

from __future__ import annotations

from itertools import islice

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from txtdiff.data.batch import Conditions, collate
from txtdiff.data.dataset import Sample
from txtdiff.data.order import index_at, noise_at, numpy_generator, rank_positions, seed_at, uniform_at


@given(st.integers(1, 50), st.integers(0, 2**40), st.integers(0, 5))
def test_every_epoch_shows_every_picture_once(n: int, seed: int, epoch: int) -> None:
    seen = [index_at(epoch * n + i, n, seed) for i in range(n)]
    assert sorted(seen) == list(range(n))


def test_epochs_and_seeds_are_shuffled_differently() -> None:
    orders = [
        tuple(index_at(epoch * 40 + i, 40, seed) for i in range(40)) for seed in (0, 1) for epoch in (0, 1)
    ]
    assert len(set(orders)) == 4


@given(st.integers(0, 100), st.sampled_from([1, 2, 4]))
def test_ranks_share_the_batches_of_one_rank(first_batch: int, n_ranks: int) -> None:
    alone = list(islice(rank_positions(first_batch * 8, 10**9, 8), 5))
    shares = [islice(rank_positions(first_batch * 8, 10**9, 8, rank, n_ranks), 5) for rank in range(n_ranks)]
    together = [[p for part in parts for p in part] for parts in zip(*shares, strict=True)]
    assert together == alone


def test_the_last_batch_is_whole() -> None:
    assert list(rank_positions(4, 10, 4)) == [[4, 5, 6, 7], [8, 9, 10, 11]]


def test_streams_are_independent_of_each_other_and_repeat() -> None:
    draws = {
        (purpose, position): numpy_generator(0, purpose, position).random()
        for purpose in ("item", "time")
        for position in range(3)
    }
    assert len(set(draws.values())) == 6
    assert numpy_generator(0, "item", 1).random() == draws["item", 1]
    together, alone = noise_at(3, "noise", [9, 10], (4,)), noise_at(3, "noise", [10], (4,))
    assert torch.equal(together[1], alone[0]) and not torch.equal(together[0], alone[0])


def test_the_loader_draws_what_the_step_would_draw() -> None:
    samples = [Sample(position, np.zeros((4, 4, 3), np.uint8), "", "") for position in (5, 6)]
    part = collate(samples, Conditions(), seed=3).part(slice(1, 2))
    assert part.positions == [6]
    assert part.time is not None and torch.equal(part.time, uniform_at(3, "time", [6]))
    assert part.noise is not None and torch.equal(part.noise, noise_at(3, "noise", [6], (3, 4, 4)))


def test_uniform_numbers_are_uniform() -> None:
    u = uniform_at(0, "time", range(4000)).numpy()
    assert u.min() >= 0 and u.max() < 1
    # Kolmogorov-Smirnov at a level of 1e-4.
    distance = np.abs(np.sort(u) - (np.arange(4000) + 0.5) / 4000).max()
    assert distance < 2.2 / np.sqrt(4000)


@given(st.integers(0, 2**62), st.integers(0, 2**62))
def test_seeds_fit_into_torch(seed: int, position: int) -> None:
    assert 0 <= seed_at(seed, "network", position) < 2**63
