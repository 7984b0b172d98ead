"""One guided denoising step: both halves of guidance in one pass, in two passes, and as the parent project.

    python benchmarks/sampling.py [--checkpoint DIR] [--batch 1 4 16] [--rounds 5] [--threads 1]

The parent project makes two passes and runs the caption's tower in each, with its own attention; ours runs
the tower once per picture, before the first step, and in one pass computes what comes before text and
caption once. Outputs are compared first. The three take turns, best of all rounds, CPU time on a CPU: ratios
that neighbours on the machine disturb little. Without --checkpoint the network has the shape of the parent
project's README (base-64, 256 channels, caption tower of ViT-L/14@336px), with random weights; --small is a
quarter as wide.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn

from txtdiff.conditioning import Prompt, StageModel, batch_denoiser
from txtdiff.data.tokenizer import DROP_TEXT, NULL_CAPTION, encode_captions, encode_texts
from txtdiff.diffusion.config import DiffusionConfig
from txtdiff.model.attention import split_heads
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


def our_step(model: StageModel, prompts: Sequence[Prompt], x: Tensor) -> Callable[[], object]:
    """One step of ours, its conditioning bound before the clock starts."""
    return partial(batch_denoiser(model, prompts, unclamped(model.network), None), x, T)


def unclamped(network: UNet) -> SamplerSettings:
    """Guidance alone."""
    has_capt = network.config.captions is not None
    return SamplerSettings(guidance_txt=SCALE, guidance_capt=SCALE if has_capt else 1.0, clamp=False)


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
        with parents_attention():
            given, dropped = network(x, timesteps, **full), network(x, timesteps, **none)
        return dropped + SCALE * (given - dropped)

    return step


@contextmanager
def parents_attention() -> Iterator[None]:
    """Attention and convolutions as the parent project has them (fork_spec 4.4, 5.3 and its list of warts).

    All weights of attention are written down, masks are tiled over heads and queries, and text attention
    multiplies queries, keys and values by an identity matrix once more.
    """

    def self_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        scale = q.shape[-1] ** -0.25
        weights = torch.einsum("bhtc,bhsc->bhts", q * scale, k * scale)
        if bias is not None:
            weights = weights + bias.expand(weights.shape).contiguous()
        out = torch.einsum("bhts,bhsc->bhtc", weights.softmax(-1), v)
        return out.transpose(1, 2).flatten(2)

    def text_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        heads, width = q.shape[1], q.shape[1] * q.shape[3]
        identity = torch.eye(width, device=q.device)
        q, k, v = (split_heads(t.transpose(1, 2).flatten(2) @ identity, heads) for t in (q, k, v))
        return self_attention(q, k, v, bias)

    def conv(layer: nn.Conv2d, x: Tensor) -> Tensor:
        return layer(x)  # type: ignore[no-any-return]

    with (
        mock.patch("txtdiff.model.attention.attend", self_attention),
        mock.patch("txtdiff.model.text_attention.attend", text_attention),
        mock.patch("txtdiff.model.blocks.convolve", conv),
    ):
        yield


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
    ours = batch_denoiser(StageModel(network, diffusion), prompts, unclamped(network), None)(x, T).eps
    theirs = steps["parent's"]()
    difference = (ours - theirs[:, :channels]).abs().max() / ours.std()  # type: ignore[index]
    print(f"batch {batch}: largest difference of eps {difference:.1e} of its deviation", flush=True)
    for _ in range(rounds):
        for name, step in steps.items():
            best[name] = min(best[name], seconds(step, device))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--no-captions", action="store_true")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    diffusion = DiffusionConfig()
    if args.checkpoint is None:
        network = (
            build_network(readme_config(small=args.small, captions=not args.no_captions))
            .eval()
            .requires_grad_(False)
        )
        for weight in network.parameters():  # zero at the start, where they would hide differences
            if not weight.any():
                weight.normal_(std=0.02)
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
