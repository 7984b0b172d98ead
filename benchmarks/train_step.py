"""A training step of a small network like the parent project's, beside plain U-Nets and the parent's own.

    python benchmarks/train_step.py [--batch 8] [--channels 64] [--rounds 5] [--threads 1]

Forward, backward, clipping, AdamW and one average of the weights, float32 on the CPU, all taking turns, CPU
time. The plain networks are 3x3 convolutions at the same resolutions, one with SiLU alone and one with a
group norm after each; their width is chosen so that their count of operations (torch's counter: matrix
products, attention and convolutions) comes close to ours, and rates are compared. Ours counts as written
down, with convolutions of doubled maps in full, though fewer operations are made of them. The parent's step
is our network computed its way, with two norms a parameter read by the host, and a loop over parameters for
the average.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import torch
from harness import interleaved, ratio, table
from parent import parents_layers, plain_doubling
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from txtdiff.model.attention import group_norm
from txtdiff.model.config import (
    AttentionConfig,
    FeedForwardConfig,
    ModelConfig,
    TextAttentionConfig,
    TextConfig,
)
from txtdiff.model.unet import build_network
from txtdiff.training.averaging import start_averages, update_averages
from txtdiff.training.config import OptimConfig
from txtdiff.training.optimizer import make_optimizer

MULTS, N_BLOCKS = (1, 2, 2, 4, 4), 2


def small_readme(channels: int) -> ModelConfig:
    """The parent project's base model for 64 px, narrower, with a smaller text encoder."""
    return ModelConfig(
        image_size_px=64,
        channels=channels,
        channel_mult=MULTS,
        n_res_blocks=N_BLOCKS,
        attention=AttentionConfig(resolutions_px=(4, 8, 16), channels_per_head=32),
        text=TextConfig(
            width=2 * channels if channels > 32 else 64,
            feed_forward=FeedForwardConfig(mult=3, glu=True),
            attention=TextAttentionConfig(resolutions_px=(8, 16, 32)),
        ),
    )


class PlainUNet(nn.Module):
    """Convolutions, SiLU, means and repeats; the levels of the network beside it."""

    def __init__(self, width: int, mults: tuple[float, ...], n_blocks: int, norms: bool) -> None:
        super().__init__()
        self.norms = norms
        widths = [int(width * mult) for mult in mults]
        self.stem, current = nn.Conv2d(3, widths[0], 3, padding=1), widths[0]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for n_channels in widths:
            self.down.append(self._level(current, n_channels, n_blocks))
            current = n_channels
        for n_channels in reversed(widths):
            self.up.append(self._level(current + n_channels, n_channels, n_blocks + 1))
            current = n_channels
        self.head = nn.Conv2d(current, 6, 3, padding=1)

    def _level(self, n_in: int, n_out: int, n_blocks: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for i in range(2 * n_blocks):
            layers.append(nn.Conv2d(n_in if i == 0 else n_out, n_out, 3, padding=1))
            if self.norms:
                layers.append(group_norm(n_out))
            layers.append(nn.SiLU())
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        h, skips = self.stem(x), []
        for i, level in enumerate(self.down):
            h = level(F.avg_pool2d(h, 2) if i else h)
            skips.append(h)
        for i, level in enumerate(self.up):
            h = level(torch.cat([F.interpolate(h, scale_factor=2.0) if i else h, skips.pop()], dim=1))
        return self.head(h)  # type: ignore[no-any-return]


def stepper(network: nn.Module, forward: Callable[[], Tensor]) -> Callable[[], None]:
    """A function that makes one step as our trainer does."""
    optimizer = make_optimizer(network, OptimConfig())
    averages = start_averages(network, [0.999])

    def step() -> None:
        forward().square().mean().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        update_averages(averages, dict(network.named_parameters()))

    return step


def parents_stepper(network: nn.Module, forward: Callable[[], Tensor]) -> Callable[[], None]:
    """A function that makes one step as the parent project does (fork_spec 8.4, 8.8, its list of warts)."""
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.0)
    averages = [weight.detach().clone() for weight in network.parameters()]

    def step() -> None:
        optimizer.zero_grad()
        with parents_layers():
            forward().square().mean().backward()
        for _ in range(2):
            sum(float(w.grad.square().sum()) for w in network.parameters() if w.grad is not None)
        optimizer.step()
        for average, weight in zip(averages, network.parameters(), strict=True):
            average.mul_(0.999).add_(weight.detach(), alpha=0.001)

    return step


def gflop(step: Callable[[], object]) -> float:
    """Billions of floating-point operations of a step."""
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops()) / 1e9


def nominal_gflop(step: Callable[[], object]) -> float:
    """The same of our network as it is written down: doubled maps are convolved, as any U-Net's are."""
    with plain_doubling():
        return gflop(step)


def plain_step(target_gflop: float, x: Tensor, norms: bool) -> Callable[[], None]:
    """The step of the plain network whose operations come close to the target."""

    def make(width: int) -> Callable[[], None]:
        network = PlainUNet(width, MULTS, N_BLOCKS, norms)
        return stepper(network, lambda: network(x))

    guess = 32
    # Operations grow with the square of the width. 16 floats fill a vector of the CPU.
    width = guess * math.sqrt(target_gflop / gflop(make(guess)))
    return make(16 * round(width / 16))


def matmul_gflops() -> float:
    """What the machine does in a large float32 matrix product, in GFLOP per CPU second."""
    a = torch.randn(1024, 1024)
    spent = interleaved({"matmul": lambda: [a @ a for _ in range(5)]}, 5)
    return 5 * 2 * 1024**3 / min(spent["matmul"]) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    x = torch.randn(options.batch, 3, 64, 64)
    t, txt = torch.randint(0, 1000, (options.batch,)), torch.randint(1, 105, (options.batch, 24))
    network, theirs = (build_network(small_readme(options.channels)) for _ in range(2))
    ours = stepper(network, lambda: network(x, t, txt=txt))
    our_gflop = nominal_gflop(ours)
    steps = {
        "ours": ours,
        "plain, SiLU": plain_step(our_gflop, x, norms=False),
        "plain, group norm and SiLU": plain_step(our_gflop, x, norms=True),
        "parent's": parents_stepper(theirs, lambda: theirs(x, t, txt=txt)),
    }
    # The parent's identity matrices are not useful work: its step counts as ours.
    counts = {
        name: our_gflop if name in ("ours", "parent's") else gflop(step) for name, step in steps.items()
    }
    spent = interleaved(steps, options.rounds)
    matmul = matmul_gflops()
    rows = []
    for name, seconds in spent.items():
        rate = counts[name] / min(seconds)
        cost = [second / counts[name] for second in seconds]
        ours_cost = [second / our_gflop for second in spent["ours"]]
        figures = [f"{counts[name]:.0f}", f"{min(seconds):.2f}", f"{rate:.0f}", f"{rate / matmul:.0%}"]
        rows.append([name, *figures, ratio(cost, ours_cost)])
    print(f"{options.channels} channels, batch {options.batch}, {options.threads} threads, ", end="")
    print(f"n = {options.rounds} rounds; targets: 0.90 of plain, 1.5 of the parent's\n")
    header = ["step", "GFLOP", "CPU-s", "GFLOP/CPU-s", "of matmul", "rate of ours / this (95 %)"]
    print(table(header, rows))


if __name__ == "__main__":
    main()
