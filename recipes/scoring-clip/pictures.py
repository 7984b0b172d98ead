"""What the scoring CLIP learns from: synthetic pictures at 64 px with their captions and their text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from datatools.console import progress
from datatools.synth import SynthOptions, make_picture
from datatools.synth.options import Split
from eval.clip_score import clip_prompts

SIZE_PX = 64
PROFILES = ("plain",) * 4 + ("word",) * 3 + ("scene",) * 3
MADE_AT_PX = (64, 128)
"""Half of the pictures are made at their own size, half are scaled down to it, as a scorer will do."""

SHOWN = (0.3, 0.15, 0.25, 0.3)
"""How often a picture is shown with its full caption, its short one, its text, its full caption and text."""


@dataclass(frozen=True)
class Captioned:
    """Pictures (n, 64, 64, 3) uint8, and for each its full caption, its short one and its text."""

    pictures: npt.NDArray[np.uint8]
    captions: npt.NDArray[np.str_]

    def says(self, i: int) -> tuple[str, str, str, str]:
        """What can be said of picture i, in the order of `SHOWN`; its caption where it has no text."""
        full, short, text = map(str, self.captions[i])
        prompts = clip_prompts(text, full)
        return full, short, prompts["clip_text"] or full, prompts["clip_full"] or full


def batch_at(data: Captioned, seed: int, n_seen: int, batch_size: int) -> tuple[torch.Tensor, list[str]]:
    """The batch after `n_seen`: (batch, 3, 64, 64) uint8 and captions; every epoch in a new order."""
    epoch, first = divmod(n_seen, len(data.pictures) // batch_size * batch_size)
    which = _order(len(data.pictures), seed, epoch)[first : first + batch_size]
    kinds = np.random.default_rng([seed, epoch, first]).choice(len(SHOWN), batch_size, p=SHOWN)
    captions = [data.says(int(i))[kind] for i, kind in zip(which, kinds, strict=True)]
    return torch.from_numpy(data.pictures[which]).permute(0, 3, 1, 2), captions


def make_captioned(n: int, seed: int, split: Split, keep: Path | None = None) -> Captioned:
    """`n` pictures of the mix; `keep` names a file that a second call takes them from."""
    if keep is not None and keep.exists():
        with np.load(keep) as kept:
            return Captioned(kept["pictures"], kept["captions"])
    pictures = np.empty((n, SIZE_PX, SIZE_PX, 3), np.uint8)
    captions = []
    with progress(f"making pictures ({split})", n) as advance:
        for i in range(n):
            size_px = MADE_AT_PX[i // len(PROFILES) % 2]
            options = SynthOptions(
                profile=PROFILES[i % len(PROFILES)], size_px=size_px, seed=seed, split=split
            )
            made = make_picture(options, i)
            small = Image.fromarray(made.image).resize((SIZE_PX, SIZE_PX), Image.Resampling.BICUBIC)
            pictures[i] = np.asarray(small)
            captions.append((*made.captions, made.text))
            advance(1)
    data = Captioned(pictures, np.array(captions))
    if keep is not None:
        np.savez(keep, pictures=data.pictures, captions=data.captions)
    return data


@lru_cache(maxsize=1)
def _order(n: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(n)
