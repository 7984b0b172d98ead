"""The Inception network of FID and KID: the TensorFlow graph of 2015, as torch-fidelity ported it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch_fidelity import feature_extractor_inceptionv3 as blocks

__all__ = ["FEATURE_WIDTH", "INPUT_SIZE_PX", "Inception", "build_trunk", "fold_batch_norm"]

INPUT_SIZE_PX = 299
FEATURE_WIDTH = 2048


class Inception(nn.Module):
    """The network up to its last average pool, batch normalisation folded into the convolutions.

    Attributes:
        digest: sha256 of the weights, part of every feature's identity.
    """

    def __init__(self, tensors: Mapping[str, Tensor], digest: str) -> None:
        super().__init__()
        trunk = build_trunk()
        trunk.load_state_dict(tensors, strict=False)  # batch counters are absent; names were checked
        self.trunk = fold_batch_norm(trunk.eval()).requires_grad_(False)
        self.digest = digest
        self.eval()

    def forward(self, pictures: Tensor) -> Tensor:
        """Features (B, 2048) float32 of pictures (B, 3, 299, 299) float32 in 0..255.

        The graph's own scaling is (x - 128) / 128: 255 becomes 0.992, not 1.
        """
        features: Tensor = self.trunk((pictures - 128) / 128)
        return features


def build_trunk() -> nn.Sequential:
    """torch-fidelity's layers in order, under its names, without resize and without the final `fc`.

    Its blocks carry TensorFlow's quirks: average pools that do not count padding, and a maximum pool in the
    last block ("Rethinking the Inception Architecture", Szegedy et al. 2015; the graph of 2015-12-05).
    """
    conv = blocks.BasicConv2d
    layers: list[tuple[str, nn.Module]] = [
        ("Conv2d_1a_3x3", conv(3, 32, kernel_size=3, stride=2)),
        ("Conv2d_2a_3x3", conv(32, 32, kernel_size=3)),
        ("Conv2d_2b_3x3", conv(32, 64, kernel_size=3, padding=1)),
        ("MaxPool_1", nn.MaxPool2d(kernel_size=3, stride=2)),
        ("Conv2d_3b_1x1", conv(64, 80, kernel_size=1)),
        ("Conv2d_4a_3x3", conv(80, 192, kernel_size=3)),
        ("MaxPool_2", nn.MaxPool2d(kernel_size=3, stride=2)),
        ("Mixed_5b", blocks.InceptionA(192, pool_features=32)),
        ("Mixed_5c", blocks.InceptionA(256, pool_features=64)),
        ("Mixed_5d", blocks.InceptionA(288, pool_features=64)),
        ("Mixed_6a", blocks.InceptionB(288)),
        ("Mixed_6b", blocks.InceptionC(768, channels_7x7=128)),
        ("Mixed_6c", blocks.InceptionC(768, channels_7x7=160)),
        ("Mixed_6d", blocks.InceptionC(768, channels_7x7=160)),
        ("Mixed_6e", blocks.InceptionC(768, channels_7x7=192)),
        ("Mixed_7a", blocks.InceptionD(768)),
        ("Mixed_7b", blocks.InceptionE_1(1280)),
        ("Mixed_7c", blocks.InceptionE_2(2048)),
        ("AvgPool", nn.AdaptiveAvgPool2d(1)),
        ("flatten", nn.Flatten()),
    ]
    return nn.Sequential(OrderedDict(layers))


def fold_batch_norm(trunk: nn.Sequential) -> nn.Sequential:
    """Multiply each batch normalisation into the convolution before it: the same function, a pass less."""
    for module in list(trunk.modules()):
        if isinstance(module, blocks.BasicConv2d):
            module.conv = fuse_conv_bn_eval(module.conv, module.bn)
            module.bn = nn.Identity()
    return trunk
