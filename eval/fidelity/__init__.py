"""FID, KID and their kin: over two folders, or over features that were extracted once and kept."""

from __future__ import annotations

from eval.fidelity.distances import (
    FID_MIN_PICTURES,
    KernelDistance,
    frechet_distance,
    kernel_distance,
)
from eval.fidelity.features import Mode, extract_features, extractor_id
from eval.fidelity.folders import fid, kid
from eval.inception_weights import open_inception

__all__ = [
    "FID_MIN_PICTURES",
    "KernelDistance",
    "Mode",
    "extract_features",
    "extractor_id",
    "fid",
    "frechet_distance",
    "kernel_distance",
    "kid",
    "open_inception",
]
