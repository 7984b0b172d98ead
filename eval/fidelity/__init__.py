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
from eval.fidelity.infinity import FidInfinity, fid_infinity
from eval.fidelity.neighbours import Nearest, PrecisionRecall, hold_out, nearest, precision_recall
from eval.inception_weights import open_inception

__all__ = [
    "FID_MIN_PICTURES",
    "FidInfinity",
    "KernelDistance",
    "Mode",
    "Nearest",
    "PrecisionRecall",
    "extract_features",
    "extractor_id",
    "fid",
    "fid_infinity",
    "frechet_distance",
    "hold_out",
    "kernel_distance",
    "kid",
    "nearest",
    "open_inception",
    "precision_recall",
]
