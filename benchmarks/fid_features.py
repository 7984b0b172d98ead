"""Inception features per second: ours, torch-fidelity's extraction, and the bare forward pass, interleaved.

    python benchmarks/fid_features.py --n 64 --rounds 7

All three take the same picture files (the bare pass: the same pictures, prepared before the clock starts) and
the same weights. Rates depend on the machine; read the ratios. Every round runs each contender once, in turn.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image
from torch_fidelity.utils import create_feature_extractor, extract_featuresdict_from_input_id

from eval.fidelity import open_inception
from eval.fidelity.features import BATCH_SIZE_CPU, Features, prepare
from eval.fidelity.folders import folder_features
from eval.networks.inception_weights import find_weights


def make_pictures(folder: Path, n: int, size_px: int) -> list[Path]:
    """Smooth random pictures as PNG files."""
    random = np.random.default_rng(0)
    paths = [folder / f"{i:05}.png" for i in range(n)]
    for path in paths:
        coarse = Image.fromarray(random.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        coarse.resize((size_px, size_px), Image.Resampling.BICUBIC).save(path)
    return paths


def torch_fidelity_extraction(folder: Path, weights: Path) -> Callable[[], Features]:
    """torch-fidelity's own loader, resize and network, with its default batch of 64."""
    options: dict[str, Any] = {"input1": str(folder), "cuda": False, "verbose": False, "batch_size": 64}
    tensors = dict(find_weights().tensors)
    counters = {
        k.replace("running_mean", "num_batches_tracked"): torch.tensor(0) for k in tensors if "mean" in k
    }
    torch.save(
        tensors | counters | {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}, weights
    )
    options["feature_extractor_weights_path"] = str(weights)
    extractor = create_feature_extractor("inception-v3-compat", ["2048"], **options)
    return lambda: extract_featuresdict_from_input_id(1, extractor, **options)["2048"].numpy()


def contenders(folder: Path, paths: list[Path]) -> dict[str, Callable[[], Features]]:
    network = open_inception(device="cpu")
    prepared = torch.stack([prepare(np.asarray(Image.open(path)), "tf") for path in paths]).permute(
        0, 3, 1, 2
    )

    def bare() -> Features:
        with torch.inference_mode():
            return np.concatenate([network(batch).numpy() for batch in prepared.split(BATCH_SIZE_CPU)])

    return {
        "torch-fidelity": torch_fidelity_extraction(folder, folder.parent / "weights.pth"),
        "ours, tf": lambda: folder_features(paths, "tf", network, "ours, tf"),
        "ours, clean": lambda: folder_features(paths, "clean", network, "ours, clean"),
        "bare forward": bare,
    }


def main(
    n: Annotated[int, typer.Option(help="Pictures a round.")] = 64,
    size_px: Annotated[int, typer.Option(help="Edge of the pictures.")] = 128,
    rounds: Annotated[int, typer.Option(help="How often each contender runs.")] = 7,
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "pictures"
        folder.mkdir()
        runs = contenders(folder, make_pictures(folder, n, size_px))
        features = {who: run() for who, run in runs.items()}  # also the warm-up
        wall: dict[str, list[float]] = {who: [] for who in runs}
        cpu: dict[str, list[float]] = {who: [] for who in runs}
        for _ in range(rounds):
            for who, run in runs.items():
                start, used = time.perf_counter(), time.process_time()
                run()
                wall[who].append(time.perf_counter() - start)
                cpu[who].append(time.process_time() - used)
    gap = np.abs(features["ours, tf"] - features["torch-fidelity"]).max()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {n} pictures of {size_px} px")
    print(f"largest difference of a feature, ours (tf) and torch-fidelity: {gap:.1e}")
    base = statistics.median(wall["torch-fidelity"])
    for who, seconds in wall.items():
        median = statistics.median(seconds)
        print(
            f"{who:15} {n / median:6.1f} img/s ({n / max(seconds):.1f} to {n / min(seconds):.1f}), "
            f"{1000 * statistics.median(cpu[who]) / n:5.1f} CPU-ms/img (this process), {base / median:.2f}x"
        )


if __name__ == "__main__":
    typer.run(main)
