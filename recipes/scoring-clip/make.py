"""Make the scoring CLIP that ships with `eval`: pictures, training, weights, and how good it is.

    python recipes/scoring-clip/make.py --work work/scoring-clip --out eval/networks/scoring_clip

A stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from measuring import measure
from open_clip.model import CustomTextCLIP
from open_clip.tokenizer import SimpleTokenizer, default_bpe
from pictures import SIZE_PX, make_captioned
from safetensors.torch import save_file
from training import TrainOptions, train

SEED = 2207
"""Of the weights and of the order. Pictures: 71 for training, 72 and 73 for measuring."""
N_MERGES = 4000
"""CLIP's own tokenizer cut to its commonest merges: its 49,408 words would be five times the rest."""

MODEL: dict[str, Any] = {
    "embed_dim": 128,
    "custom_text": True,
    "vision_cfg": {"image_size": SIZE_PX, "layers": [1, 1, 1, 1], "width": 16, "head_width": 64},
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 2 * 256 + N_MERGES + 2,
        "width": 128,
        "heads": 4,
        "layers": 2,
    },
}
PREPARATION: dict[str, Any] = {
    "mean": open_clip.OPENAI_DATASET_MEAN,
    "std": open_clip.OPENAI_DATASET_STD,
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


def main() -> None:
    options = parse()
    options.work.mkdir(parents=True, exist_ok=True)
    options.out.mkdir(parents=True, exist_ok=True)
    write_merges(options.out / "merges.txt.gz")
    (options.out / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": MODEL, "preprocess_cfg": PREPARATION}, indent=1) + "\n"
    )
    tokenizer = SimpleTokenizer(options.out / "merges.txt.gz")
    data = make_captioned(options.pictures, 71, "train", options.work / "train.npz")
    torch.manual_seed(SEED)
    network = CustomTextCLIP(**{name: value for name, value in MODEL.items() if name != "custom_text"})
    checkpoint = options.work / "last.pt"
    train(network, tokenizer, prepare, data, TrainOptions(n_images=options.images, seed=SEED), checkpoint)
    state = {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    save_file(state, options.out / "open_clip_model.safetensors")
    measure(options.out, {"images": options.images, "pictures": options.pictures})


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, required=True, help="folder for pictures and the checkpoint")
    parser.add_argument("--out", type=Path, required=True, help="folder for what ships")
    parser.add_argument("--pictures", type=int, default=30_000, help="how many different pictures")
    parser.add_argument("--images", type=int, default=131_072, help="how many pictures to train on")
    return parser.parse_args()


def write_merges(path: Path) -> None:
    """The head of CLIP's own list of merges, the commonest first."""
    with gzip.open(default_bpe(), "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[: 1 + N_MERGES]
    with path.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
        packed.write("\n".join(lines).encode())


def prepare(pictures: torch.Tensor) -> torch.Tensor:
    """uint8 -> what the network takes: the same as the scorer's transform for pictures of its size."""
    mean, std = (torch.tensor(PREPARATION[name]).view(3, 1, 1) for name in ("mean", "std"))
    return (pictures.float() / 255 - mean) / std


if __name__ == "__main__":
    main()
