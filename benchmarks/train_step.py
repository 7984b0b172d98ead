"""One training step of a small network like the parent project's, beside a plain U-Net of equal FLOPs.

    python benchmarks/train_step.py [--batch 8] [--channels 64] [--rounds 5] [--threads 1]

Forward and backward in float32 on the CPU, the two networks taking turns, CPU time, best of all rounds: a
ratio that neighbours on the machine disturb little. The plain network has nothing but 3x3 convolutions and
SiLU at the same resolutions; its width is chosen so that its count of floating-point operations comes close.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from txtdiff.model.config import (
    AttentionConfig,
    FeedForwardConfig,
    ModelConfig,
    TextAttentionConfig,
    TextConfig,
)
from txtdiff.model.unet import build_network

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

    def __init__(self, width: int, mults: tuple[float, ...], n_blocks: int) -> None:
        super().__init__()
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

    @staticmethod
    def _level(n_in: int, n_out: int, n_blocks: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for i in range(2 * n_blocks):
            layers += [nn.Conv2d(n_in if i == 0 else n_out, n_out, 3, padding=1), nn.SiLU()]
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
    """A function that does one forward and backward pass."""

    def step() -> None:
        network.zero_grad(set_to_none=True)
        forward().square().mean().backward()

    return step


def gflop(step: Callable[[], None]) -> float:
    """Billions of floating-point operations of a step."""
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops()) / 1e9


def plain_step(target_gflop: float, x: Tensor) -> tuple[Callable[[], None], float]:
    """The step of the plain network whose operations come close to the target."""

    def make(width: int) -> Callable[[], None]:
        network = PlainUNet(width, MULTS, N_BLOCKS)
        return stepper(network, lambda: network(x))

    guess = 32
    # Operations grow with the square of the width.
    step = make(round(guess * math.sqrt(target_gflop / gflop(make(guess)))))
    return step, gflop(step)


def cpu_seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def matmul_gflops() -> float:
    """What the machine does in a large float32 matrix product, in GFLOP per CPU second."""
    a = torch.randn(1024, 1024)
    return 2 * 1024**3 * 5 / min(cpu_seconds(lambda: [a @ a for _ in range(5)]) for _ in range(5)) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    x = torch.randn(options.batch, 3, 64, 64)
    t, txt = torch.randint(0, 1000, (options.batch,)), torch.randint(1, 105, (options.batch, 24))
    network = build_network(small_readme(options.channels))
    ours = stepper(network, lambda: network(x, t, txt=txt))
    our_gflop = gflop(ours)
    plain, plain_gflop = plain_step(our_gflop, x)
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    for round_ in range(options.rounds + 1):
        for name, step in (("ours", ours), ("plain", plain)):
            seconds = cpu_seconds(step)
            if round_:  # the first one warms up
                times[name].append(seconds)
    rates = {"ours": our_gflop / min(times["ours"]), "plain": plain_gflop / min(times["plain"])}
    matmul = matmul_gflops()
    for name, count in (("ours", our_gflop), ("plain", plain_gflop)):
        share = rates[name] / matmul
        print(f"{name:6} {count:7.1f} GFLOP a step, {rates[name]:6.1f} GFLOP/CPU-s, {share:.0%} of matmul")
    print(f"rate of ours / rate of plain = {rates['ours'] / rates['plain']:.2f} (n = {options.rounds})")


if __name__ == "__main__":
    main()
