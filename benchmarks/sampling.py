"""One guided denoising step: both halves of guidance in one pass, in two passes, and as the parent project.

    python benchmarks/sampling.py [--checkpoint DIR] [--batch 1 4 16] [--rounds 5] [--threads 1]

The parent project makes two passes and runs the caption's tower in each, with its own attention; ours runs
the tower once per picture, before the first step, and in one pass computes what comes before text and
caption once, and what skips from there bring. Outputs are compared first, and operations counted: where the
arithmetic fills the machine, their ratio is what time can come to. The three take turns, CPU time on a CPU:
ratios that neighbours on the machine disturb little. Without --checkpoint the network has the shape of
the parent project's README (base-64, 256 channels, caption tower of ViT-L/14@336px), with random weights,
once with captions and once without; --small is a quarter as wide.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from harness import interleaved, ratio, table
from parent import parents_layers
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from txtdiff.conditioning import Prompt, StageModel, batch_denoiser
from txtdiff.data.tokenizer import DROP_TEXT, NULL_CAPTION, encode_captions, encode_texts
from txtdiff.diffusion.config import DiffusionConfig
from txtdiff.diffusion.denoiser import Prediction
from txtdiff.model.config import (
    AttentionConfig,
    CaptionConfig,
    FeedForwardConfig,
    ModelConfig,
    TextAttentionConfig,
    TextConfig,
    TowerSize,
)
from txtdiff.model.unet import UNet, build_network
from txtdiff.sampler_settings import SamplerSettings
from txtdiff.training.weights import load_network

SCALE = 3.0
MAX_APART = 1e-3
T = 500


def readme_config(*, small: bool, captions: bool = True) -> ModelConfig:
    """base-64 of the parent project's README, or the same narrower."""
    text = TextConfig(
        width=128 if small else 512,
        depth=6,
        max_length=384,
        feed_forward=FeedForwardConfig(mult=3, glu=True),
        attention=TextAttentionConfig(resolutions_px=(8, 16, 32), heads=4),
    )
    tower = CaptionConfig(weights="random")
    if small:
        size = TowerSize(width=256, layers=6, heads=4)
        tower = CaptionConfig(tower="custom", size=size, activation="quick_gelu", weights="random")
    return ModelConfig(
        channels=64 if small else 256,
        channel_mult=(1, 2, 2, 4, 4),
        attention=AttentionConfig(resolutions_px=(4, 8, 16), heads=16 if not small else 4),
        text=text,
        captions=tower if captions else None,
    )


def our_step(model: StageModel, prompts: Sequence[Prompt], x: Tensor) -> Callable[[], Prediction]:
    """One step of ours, its conditioning bound before the clock starts."""
    return partial(batch_denoiser(model, prompts, unclamped(model.network), None), x, T)


def unclamped(network: UNet) -> SamplerSettings:
    """Guidance alone."""
    has_capt = network.config.captions is not None
    return SamplerSettings(guidance_txt=SCALE, guidance_capt=SCALE if has_capt else 1.0, clamp=False)


def fork_step(network: UNet, prompts: Sequence[Prompt], x: Tensor) -> Callable[[], Tensor]:
    """One step as the parent project's: two passes, each encoding its captions."""
    config, timesteps = network.config, torch.full((len(x),), T, device=x.device)

    def cond(texts: list[str], captions: list[str]) -> dict[str, Tensor]:
        given = {}
        if config.text is not None:
            given["txt"] = encode_texts(texts, config.text.max_length).to(x.device)
        if config.captions is not None:
            given["capt"] = encode_captions(captions).to(x.device)
        return given

    full = cond([p.txt for p in prompts], [p.capt or NULL_CAPTION for p in prompts])
    none = cond([DROP_TEXT] * len(prompts), [NULL_CAPTION] * len(prompts))

    def step() -> Tensor:
        with parents_layers():
            given, dropped = network(x, timesteps, **full), network(x, timesteps, **none)
        return dropped + SCALE * (given - dropped)

    return step


@torch.no_grad()
def compare(network: UNet, diffusion: DiffusionConfig, batch: int, rounds: int) -> list[str]:
    """A row of the table: seconds of a step in one pass, and how much longer the others take."""
    device = next(network.parameters()).device
    size, channels = network.config.image_size_px, network.config.image_channels
    x = torch.randn(batch, channels, size, size, device=device)
    prompts = [Prompt(txt=f"coffee {i}\nopen", capt="a photo of a sign", seed=i) for i in range(batch)]
    parents = fork_step(network, prompts, x)
    steps = {
        "one": our_step(StageModel(network, diffusion, stacks_guidance=True), prompts, x),
        "two": our_step(StageModel(network, diffusion, stacks_guidance=False), prompts, x),
        "parent": parents,
    }
    cudnn = torch.backends.cudnn
    rounded, cudnn.allow_tf32 = cudnn.allow_tf32, False  # the comparison is of the procedure, not of TF32
    theirs = parents()[:, :channels]
    apart = float((steps["one"]().eps - theirs).abs().max() / theirs.std())
    if apart > MAX_APART:
        raise SystemExit(f"batch {batch}: outputs differ by {apart:.1e} of their deviation")
    cudnn.allow_tf32 = rounded
    counts = {name: _gflop(step) for name, step in steps.items()}
    on_gpu = device.type == "cuda"

    def waited(step: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            step()
            if on_gpu:
                torch.cuda.synchronize()

        return run

    runs = {name: waited(step) for name, step in steps.items()}
    spent = interleaved(runs, rounds, time.perf_counter if on_gpu else time.process_time)
    against = (ratio(spent[name], spent["one"]) for name in ("two", "parent"))
    fewer = f"{counts['parent'] / counts['one']:.2f}"
    row = [str(batch), f"{min(spent['one']):.3g}", *against, fewer, f"{apart:.0e}"]
    print(*row, sep=" | ", file=sys.stderr)
    return row


def _gflop(step: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops()) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.checkpoint is not None:
        network, config = load_network(args.checkpoint)
        report(network.to(args.device), config.diffusion, args)
        return
    for captions in (True, False):
        network = random_network(readme_config(small=args.small, captions=captions))
        report(network.to(args.device), DiffusionConfig(), args)


def random_network(config: ModelConfig) -> UNet:
    """A network with no weight at zero, where fresh ones have some that would hide differences."""
    network = build_network(config).eval().requires_grad_(False)
    for weight in network.parameters():
        if not weight.any():
            weight.normal_(std=0.02)
    return network


def report(network: UNet, diffusion: DiffusionConfig, args: argparse.Namespace) -> None:
    """Print a table of one network."""
    rows = [compare(network, diffusion, batch, args.rounds) for batch in args.batch]
    has = network.config.captions is not None
    kind, target = ("captions", "target 1.7") if has else ("no captions", "target 1.0")
    print(f"{kind}, {network.config.channels} channels, threads: {args.threads}, n = {args.rounds} rounds\n")
    header = ["pictures", "s a step, one pass", "two passes / one", f"parent / one ({target})"]
    header += ["operations, parent / one", "eps apart"]
    print(table(header, rows), "\n", flush=True)


if __name__ == "__main__":
    main()
