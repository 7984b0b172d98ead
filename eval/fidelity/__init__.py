"""FID, KID and their kin: over two folders, or over features that were extracted once and kept."""

from __future__ import annotations

from eval.fidelity.distances import (
    FID_MIN_PICTURES,
    KernelDistance,
    frechet_distance,
    kernel_distance,
)
from eval.fidelity.features import Picture, extract_features
from eval.fidelity.folders import fid, kid
from eval.fidelity.infinity import FidInfinity, fid_infinity
from eval.fidelity.neighbours import (
    Copies,
    Nearest,
    PrecisionRecall,
    find_copies,
    nearest,
    precision_recall,
)
from eval.fidelity.other_networks import OtherNetwork, open_other_network
from eval.networks.inception_digest import Mode, extractor_id
from eval.networks.inception_weights import open_inception
from eval.statistics.holding_out import hold_out

__all__ = [
    "FID_MIN_PICTURES",
    "Copies",
    "FidInfinity",
    "KernelDistance",
    "Mode",
    "Nearest",
    "OtherNetwork",
    "Picture",
    "PrecisionRecall",
    "extract_features",
    "extractor_id",
    "fid",
    "fid_infinity",
    "find_copies",
    "frechet_distance",
    "hold_out",
    "kernel_distance",
    "kid",
    "nearest",
    "open_inception",
    "open_other_network",
    "precision_recall",
]
