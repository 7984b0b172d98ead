"""The network: a U-Net with text, captions and a smaller picture as conditions."""

from txtdiff.model.config import ModelConfig
from txtdiff.model.context import CaptionFeatures
from txtdiff.model.unet import UNet, build_network

__all__ = ["CaptionFeatures", "ModelConfig", "UNet", "build_network"]
