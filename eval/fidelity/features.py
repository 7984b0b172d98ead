"""Pictures to Inception features, and the two ways to bring them to 299 px."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from datatools.console import Advance
from eval.networks.batches import each_batch
from eval.networks.inception import FEATURE_WIDTH, INPUT_SIZE_PX, Inception
from eval.networks.inception_digest import Mode
from eval.networks.inception_weights import open_inception

__all__ = [
    "Features",
    "Picture",
    "extract_features",
    "features_of",
    "prepare",
    "resize_clean",
]

Picture = npt.NDArray[np.uint8]
Features = npt.NDArray[np.float32]
Source = TypeVar("Source")

# A batch each core: small ones share out evenly, and cost no more a picture. A GPU wants more.
BATCH_SIZE_CPU = 4
BATCH_SIZE_GPU = 128


def extract_features(
    pictures: Iterable[Picture],
    mode: Mode = "clean",
    progress: Advance | None = None,
    *,
    network: Inception | None = None,
    batch_size: int | None = None,
) -> Features:
    """Inception features of pictures, in their order.

    Args:
        pictures: (H, W, 3) uint8 RGB each, of any sizes.
        mode: "clean" as clean-fid, "tf" as torch-fidelity and the original TensorFlow code.
        progress: called with the number of pictures done after each batch.
        network: from `open_inception`; None opens it.
        batch_size: pictures a pass; None takes what is fastest on the network's device.

    Returns:
        (n, 2048) float32.

    Raises:
        InputError: the network's weights cannot be found.
        ValueError: a picture has another shape or type.
    """
    return features_of(
        pictures, lambda picture: prepare(picture, mode), progress, network=network, batch_size=batch_size
    )


def features_of(
    sources: Iterable[Source],
    load: Callable[[Source], Tensor],
    progress: Advance | None = None,
    *,
    network: nn.Module | None = None,
    batch_size: int | None = None,
) -> Features:
    """`extract_features` of anything that `load` turns into a prepared picture, in threads.

    Args:
        sources: what to load, e.g. paths.
        load: source -> (299, 299, 3) float32 in 0..255, as `prepare` returns it; runs in a thread.
        network: (B, 3, 299, 299) -> (B, width); another one than Inception may take another size.
    """
    network = network or open_inception()
    device = next(network.parameters()).device
    if batch_size is None:
        batch_size = BATCH_SIZE_CPU if device.type == "cpu" else BATCH_SIZE_GPU

    def forward(batch: list[Tensor]) -> Features:
        # (B, 3, H, W) whose memory is channels last: stacking (H, W, 3) gives it for nothing.
        pictures = torch.stack(batch).permute(0, 3, 1, 2).to(device, non_blocking=True)
        with torch.inference_mode():
            features: Features = network(pictures).cpu().numpy()
        return features

    rows: list[Features] = []
    # TF32 keeps ten bits of a feature: features of a GPU and of a CPU would no longer be the same.
    with torch.backends.cudnn.flags(allow_tf32=False):
        for features in each_batch(sources, load, forward, device, batch_size):
            rows.append(features)
            if progress is not None:
                progress(len(features))
    return np.concatenate(rows) if rows else np.empty((0, FEATURE_WIDTH), np.float32)


def prepare(picture: Picture, mode: Mode) -> Tensor:
    """One picture at the network's size: (H, W, 3) uint8 -> (299, 299, 3) float32 in 0..255, not rounded."""
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(f"a picture is (H, W, 3) uint8, not {picture.shape} {picture.dtype}")
    return resize_clean(picture) if mode == "clean" else _resize_tensorflow(picture)


def resize_clean(picture: Picture, size_px: int = INPUT_SIZE_PX) -> Tensor:
    """Pillow's antialiased bicubic on each channel as floats, clipped (clean-fid, Parmar et al. 2022)."""
    size = (size_px, size_px)
    channels = [Image.fromarray(channel) for channel in picture.transpose(2, 0, 1).astype(np.float32)]
    resized = [np.asarray(channel.resize(size, Image.Resampling.BICUBIC)) for channel in channels]
    return torch.from_numpy(np.stack(resized, axis=-1).clip(0, 255))


def _resize_tensorflow(picture: Picture) -> Tensor:
    """Bilinear without antialiasing and with TensorFlow 1's corner rule, as the graph did by itself."""
    pixels = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float()
    resized: Tensor = interpolate_bilinear_2d_like_tensorflow1x(
        pixels, size=(INPUT_SIZE_PX, INPUT_SIZE_PX), align_corners=False
    )
    return resized[0].permute(1, 2, 0)
