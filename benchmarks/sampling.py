"""One guided denoising step: both halves of guidance stacked, in two passes, and as the parent project.

    python benchmarks/sampling.py [--checkpoint DIR] [--batch 1 4 16] [--rounds 5] [--threads 1]

The parent project makes two passes and runs the caption's tower in each; ours runs it once per picture,
before the first step. The three take turns, best of all rounds, CPU time on a CPU: ratios that neighbours on
the machine disturb little. Without --checkpoint the network has the shape of the parent project's README
(base-64, 256 channels, caption tower of ViT-L/14@336px), with random weights; --small is a quarter as wide.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from txtdiff.conditioning import Prompt, StageModel, batch_denoiser
from txtdiff.data.tokenizer import DROP_TEXT, NULL_CAPTION, encode_captions, encode_texts
from txtdiff.diffusion.config import DiffusionConfig
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
T = 500


def readme_config(*, small: bool) -> ModelConfig:
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
        captions=tower,
    )


def our_step(model: StageModel, prompts: Sequence[Prompt], x: Tensor) -> Callable[[], object]:
    """One step of ours, its conditioning bound before the clock starts."""
    has_capt = model.network.config.captions is not None
    settings = SamplerSettings(guidance_txt=SCALE, guidance_capt=SCALE if has_capt else 1.0)
    return partial(batch_denoiser(model, prompts, settings, None), x, T)


def fork_step(network: UNet, prompts: Sequence[Prompt], x: Tensor) -> Callable[[], object]:
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
        given, dropped = network(x, timesteps, **full), network(x, timesteps, **none)
        return dropped + SCALE * (given - dropped)

    return step


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """CPU seconds on a CPU, seconds on a GPU."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    start = clock()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start


@torch.no_grad()
def compare(network: UNet, diffusion: DiffusionConfig, batch: int, rounds: int) -> dict[str, float]:
    """Best seconds per step of the three procedures."""
    device = next(network.parameters()).device
    size, channels = network.config.image_size_px, network.config.image_channels
    x = torch.randn(batch, channels, size, size, device=device)
    prompts = [Prompt(txt=f"coffee {i}\nopen", capt="a photo of a sign", seed=i) for i in range(batch)]
    steps = {
        "one batch": our_step(StageModel(network, diffusion, stacks_guidance=True), prompts, x),
        "two passes": our_step(StageModel(network, diffusion, stacks_guidance=False), prompts, x),
        "parent's": fork_step(network, prompts, x),
    }
    best = dict.fromkeys(steps, float("inf"))
    for step in steps.values():
        step()
    for _ in range(rounds):
        for name, step in steps.items():
            best[name] = min(best[name], seconds(step, device))
    return best


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
    diffusion = DiffusionConfig()
    if args.checkpoint is None:
        network = build_network(readme_config(small=args.small)).eval().requires_grad_(False)
    else:
        network, config = load_network(args.checkpoint)
        diffusion = config.diffusion
    network = network.to(args.device)
    for batch in args.batch:
        best = compare(network, diffusion, batch, args.rounds)
        ratios = ", ".join(f"{name} {best[name] / best['one batch']:.2f}" for name in best)
        print(f"batch {batch}: {best['one batch']:.3f} s a step; relative to it: {ratios}", flush=True)


if __name__ == "__main__":
    main()
