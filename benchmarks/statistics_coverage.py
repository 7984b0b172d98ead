"""How often 95 % intervals hold the truth, and how often tests cry wolf, on simulated truth.

    python benchmarks/statistics_coverage.py --simulations 5000

Prompts differ in how hard they are (beta-distributed), pictures of a prompt share that, texts differ in
length. Intervals and tests are the ones of the leaderboard, called as it calls them. Where every outcome can
be counted, one picture a prompt, it is: those rows are exact, over the whole range of EM and of disagreement.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from scipy.stats import binom

from eval.statistics import (
    bootstrap_weights,
    mcnemar_midp,
    mean_interval,
    ratio_interval,
    sign_flip_p,
    wilson,
)
from eval.statistics.ranking import pair_p_values

Floats = npt.NDArray[np.float64]


def main(
    simulations: Annotated[int, typer.Option(help="Simulated leaderboards of each kind.")] = 5_000,
    prompts: Annotated[int, typer.Option(help="Prompts of each.")] = 250,
    pictures: Annotated[int, typer.Option(help="Pictures of each prompt.")] = 4,
) -> None:
    """Print coverage and type I errors with their own intervals."""
    rng = np.random.default_rng(0)
    print("| what | share | interval | simulations | target |\n|---|---|---|---|---|")
    for mean in (0.1, 0.5, 0.9):
        tell(
            f"EM {mean}, {pictures} pictures a prompt", em_coverage(rng, simulations, prompts, pictures, mean)
        )
        tell(f"EM {mean}, 1 picture a prompt", em_coverage(rng, simulations, prompts, 1, mean))
    tell("CER 0.2, lengths 2 to 40", cer_coverage(rng, simulations, prompts))
    tell("McNemar mid-p, equal models", [mcnemar_p(rng, prompts) < 0.05 for _ in range(simulations)], "≤ 5 %")
    tell("sign flips, equal models", flips(rng, simulations, prompts, pictures), "≤ 5 %")
    tell_exact("Wilson, EM 0.05 to 0.95, exact", exact_coverage(prompts), "94-96 %")
    tell_exact("McNemar mid-p, 5 to 60 % disagree, exact", exact_false_alarms(prompts), "≤ 5 %")
    n_boards = max(1, simulations // 10)
    tell(
        "Holm over 5 equal models", [any_different(rng, prompts, pictures) for _ in range(n_boards)], "≤ 5 %"
    )


def tell(what: str, hits: list[bool], target: str = "94-96 %") -> None:
    """A row of the table: a share with Wilson's interval."""
    low, high = wilson(sum(hits), len(hits))
    share = f"{100 * sum(hits) / len(hits):.1f} %"
    print(
        f"| {what} | {share} | {100 * low:.1f} to {100 * high:.1f} | {len(hits):,} | {target} |", flush=True
    )


def tell_exact(what: str, shares: Floats, target: str) -> None:
    """A row of the table: the mean of exact shares, the lowest and the highest."""
    low, high = 100 * shares.min(), 100 * shares.max()
    print(f"| {what} | {100 * shares.mean():.1f} % | {low:.1f} to {high:.1f} | all outcomes | {target} |")


def exact_coverage(n: int) -> Floats:
    """Chance that Wilson's interval holds the truth, for 181 values of EM, n prompts of one picture."""
    bounds = np.array([wilson(n_right, n) for n_right in range(n + 1)])
    truths = np.linspace(0.05, 0.95, 181)
    holds = (bounds[:, :1] <= truths) & (truths <= bounds[:, 1:])
    return np.asarray((binom.pmf(np.arange(n + 1)[:, None], n, truths) * holds).sum(axis=0))


def exact_false_alarms(n: int) -> Floats:
    """Chance that equal models are told apart, by the share of prompts on which just one is right."""
    alarms = np.zeros(n + 1)
    for n_differ in range(1, n + 1):
        only_a = np.arange(n_differ + 1)
        is_alarm = [mcnemar_midp(int(a), int(n_differ - a)) < 0.05 for a in only_a]
        alarms[n_differ] = binom.pmf(only_a, n_differ, 0.5)[is_alarm].sum()
    shares = np.linspace(0.05, 0.6, 56)
    return np.asarray((binom.pmf(np.arange(n + 1)[:, None], n, shares) * alarms[:, None]).sum(axis=0))


def em_coverage(rng: np.random.Generator, n: int, n_prompts: int, n_pictures: int, mean: float) -> list[bool]:
    """Whether the interval of EM holds the mean of all prompts there could be."""
    weights, codes = bootstrap_weights(n_prompts), np.repeat(np.arange(n_prompts), n_pictures)
    hits = []
    for _ in range(n):
        chances = rng.beta(2 * mean, 2 * (1 - mean), n_prompts)
        right = (rng.random(len(codes)) < chances[codes]).astype(np.float64)
        interval = mean_interval(right, codes, weights)
        hits.append(interval is not None and interval.low <= mean <= interval.high)
    return hits


def cer_coverage(rng: np.random.Generator, n: int, n_prompts: int) -> list[bool]:
    """Whether the interval of CER, a ratio of sums, holds the error rate of all texts there could be."""
    weights, hits = bootstrap_weights(n_prompts), []
    for _ in range(n):
        lengths = rng.integers(2, 41, n_prompts)
        errors = rng.binomial(lengths, rng.beta(1, 4, n_prompts)).astype(np.float64)
        interval = ratio_interval(errors, lengths.astype(np.float64), weights)
        hits.append(interval is not None and interval.low <= 0.2 <= interval.high)
    return hits


def mcnemar_p(rng: np.random.Generator, n_prompts: int) -> float:
    """p of two models that are equally good on each prompt."""
    chances = rng.beta(1, 1, n_prompts)
    a, b = (rng.random(n_prompts) < chances for _ in range(2))
    return mcnemar_midp(int((a & ~b).sum()), int((b & ~a).sum()))


def flips(rng: np.random.Generator, n: int, n_prompts: int, n_pictures: int) -> list[bool]:
    """Whether sign flips tell equal models apart, many comparisons at once."""
    found: list[bool] = []
    while len(found) < n:
        pairs = [means(rng, n_prompts, n_pictures, 2) for _ in range(min(250, n - len(found)))]
        differences = np.stack([pair[:, 0] - pair[:, 1] for pair in pairs], axis=1)
        found += [bool(p < 0.05) for p in sign_flip_p(differences, seed=len(found))]
    return found


def any_different(rng: np.random.Generator, n_prompts: int, n_pictures: int) -> bool:
    """Whether any pair of five equal models is told apart after Holm's correction."""
    return min(pair_p_values(means(rng, n_prompts, n_pictures, 5), is_binary=False).values()) < 0.05


def means(rng: np.random.Generator, n_prompts: int, n_pictures: int, n_models: int) -> Floats:
    """EM of each prompt, (n_prompts, n_models), of models that are equally good on each."""
    chances = rng.beta(1, 1, n_prompts)[:, None]
    return rng.binomial(n_pictures, np.broadcast_to(chances, (n_prompts, n_models))) / n_pictures


if __name__ == "__main__":
    typer.run(main)
