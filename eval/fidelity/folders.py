"""FID and KID between two folders of pictures, read as clean-fid and torch-fidelity read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from datatools.console import messages, progress
from datatools.errors import InputError
from eval.fidelity.distances import KernelDistance, frechet_distance, kernel_distance
from eval.fidelity.features import Features, Picture, features_of, prepare
from eval.networks.inception import Inception
from eval.networks.inception_digest import Mode
from eval.networks.inception_weights import open_inception

__all__ = ["fid", "folder_features", "kid", "picture_files"]

SUFFIXES = frozenset({".bmp", ".jpg", ".jpeg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
LOSSY_SUFFIXES = frozenset({".jpg", ".jpeg", ".webp"})
DEEP_MODES = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def fid(
    folder_a: Path | str, folder_b: Path | str, mode: Mode = "clean", *, network: Inception | None = None
) -> float:
    """Fréchet Inception distance between two folders.

    Args:
        folder_a, folder_b: pictures in them or below, of any sizes; the order of the two does not matter.
        mode: "clean" is clean-fid's number (1e-4), "tf" torch-fidelity's (1e-3).
        network: from `open_inception`; None opens it.

    Raises:
        InputError: a folder holds fewer than two pictures or one that cannot be read; no weights.
    """
    return frechet_distance(*_two_folders(folder_a, folder_b, mode, network))


def kid(
    folder_a: Path | str, folder_b: Path | str, mode: Mode = "clean", *, network: Inception | None = None
) -> KernelDistance:
    """Kernel Inception distance between two folders: mean and standard error, not times 1,000.

    Arguments and errors as for `fid`; unbiased, so it can be slightly negative.
    """
    return kernel_distance(*_two_folders(folder_a, folder_b, mode, network))


def picture_files(folder: Path | str) -> list[Path]:
    """The pictures in a folder and below it, by suffix, in the order of their paths.

    Raises:
        InputError: there is no such folder, or fewer than two pictures.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"the folder {folder} does not exist")
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
    if len(files) < 2:
        raise InputError(f"{folder} holds {len(files)} pictures", "A distance needs two at the very least.")
    return files


def folder_features(files: list[Path], mode: Mode, network: Inception, what: str) -> Features:
    """(n, 2048) float32 features of picture files, with a progress bar that says `what`."""

    def load(path: Path) -> Tensor:
        return prepare(_read(path), mode)

    with progress(what, len(files)) as advance:
        return features_of(files, load, advance, network=network)


def _two_folders(
    folder_a: Path | str, folder_b: Path | str, mode: Mode, network: Inception | None
) -> tuple[Features, Features]:
    files_a, files_b = picture_files(folder_a), picture_files(folder_b)
    if _is_lossy(files_a) != _is_lossy(files_b):
        # JPEG against PNG alone moves FID by several points (Parmar et al. 2022, section 4).
        messages.print(
            "warning: only one of the two folders holds lossy pictures; that alone moves FID and KID"
        )
    network = network or open_inception()
    features_a = folder_features(files_a, mode, network, "features of the first folder")
    return features_a, folder_features(files_b, mode, network, "features of the second folder")


def _is_lossy(files: list[Path]) -> bool:
    return any(f.suffix.lower() in LOSSY_SUFFIXES for f in files)


def _read(path: Path) -> Picture:
    """(H, W, 3) uint8 by Pillow's own conversion: both libraries ignore orientation and drop alpha."""
    try:
        with Image.open(path, formats=FORMATS) as picture:
            if picture.mode in DEEP_MODES:
                # Pillow cuts such values at 255, and so do both libraries: nearly every pixel would be white.
                what = f"{path} holds more than 8 bits a channel (Pillow's mode {picture.mode})"
                raise InputError(what, "Save it as an 8-bit PNG first.")
            return np.asarray(picture.convert("RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a picture: {error}", "Remove or replace it.") from error
