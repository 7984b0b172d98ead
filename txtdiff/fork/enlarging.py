"""What a line of the fork's super_res_sample enlarges: a base model's .npz, or true pictures made small."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from datatools.console import plain
from datatools.decode import decode
from datatools.errors import InputError
from datatools.files.sources import fetch
from datatools.rejection import Rejection
from txtdiff.conditioning import Prompt
from txtdiff.config_files import validated
from txtdiff.data.batch import to_network_range
from txtdiff.data.config import DataConfig, LowResConfig
from txtdiff.data.low_res import make_low_res
from txtdiff.data.picture import fit_square
from txtdiff.data.source import Row, read_rows
from txtdiff.data.tokenizer import decode_texts
from txtdiff.fork.sampling import ForkSampling
from txtdiff.fork.training import low_res_settings
from txtdiff.model.config import ModelConfig

__all__ = ["pictures_to_enlarge"]

_NPZ_LIMIT_BYTES = 2**32
_BATCH = 16


def pictures_to_enlarge(asked: ForkSampling, config: ModelConfig, seed: int) -> tuple[Tensor, list[Prompt]]:
    """Small pictures (N, C, h, w) in -1…1 and a prompt for each.

    As in the fork, they come again from the beginning when more are asked for than there are; without
    --num_samples each comes once.

    Raises:
        InputError: neither --base_samples nor --base_data_dir, or nothing usable there.
    """
    if asked.base_samples is not None:
        small, texts, labels = _from_npz(asked.base_samples)
    elif asked.base_data is not None:
        small, texts, labels = _from_folder(asked, asked.base_data, config)
    else:
        raise InputError(
            "the fork's command line: nothing to enlarge", "Give --base_samples FILE.npz or --base_data_dir."
        )
    n = len(small) if asked.n is None else asked.n
    which = [i % len(small) for i in range(n)]
    prompts = [
        Prompt(
            txt=(asked.txt or texts[i]) if config.text is not None else "",
            seed=seed + picture,
            label=labels[i] if config.n_classes is not None else None,
        )
        for picture, i in enumerate(which)
    ]
    return small[which], prompts


GivenPictures = tuple[Tensor, Sequence[str], Sequence[int | None]]


def _from_npz(path: Path) -> GivenPictures:
    """arr_0: pictures (N, h, w, C) uint8; arr_1, if it is there: token ids (N, L) or classes (N,)."""
    arrays = _read_npz(path)
    pictures = arrays.get("arr_0")
    if pictures is None or pictures.ndim != 4 or pictures.dtype != np.uint8 or not len(pictures):
        raise InputError(f"{path} holds no pictures", "arr_0 must be (N, height, width, channels) uint8.")
    n, told = len(pictures), arrays.get("arr_1")
    if told is not None and (told.dtype.kind not in "iu" or told.ndim not in (1, 2) or len(told) != n):
        raise InputError(f"{path}: arr_1 is neither classes nor token ids of {n} pictures")
    small = to_network_range(torch.from_numpy(pictures).permute(0, 3, 1, 2))
    if told is None:
        return small, [""] * n, [None] * n
    if told.ndim == 1:
        return small, [""] * n, [int(label) for label in told]
    return small, decode_texts(told.tolist()), [None] * n


def _read_npz(path: Path) -> dict[str, NDArray[np.generic]]:
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _NPZ_LIMIT_BYTES:
                raise InputError(f"{path} is too large: more than {_NPZ_LIMIT_BYTES // 2**30} GiB unpacked")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in ("arr_0", "arr_1") if name in arrays}
    except (OSError, ValueError, zipfile.BadZipFile, KeyError, EOFError) as error:
        raise InputError(f"{path} cannot be read as .npz: {error}") from error


def _from_folder(asked: ForkSampling, folder: Path, config: ModelConfig) -> GivenPictures:
    """True pictures with their .txt, in order of their names, made small as --blur_… say."""
    assert config.upsampler is not None
    rows = read_rows(DataConfig(folder=folder), "unused" if config.text is None else "needed")
    first, n_wanted = asked.base_data_offset, len(rows) if asked.n is None else asked.n
    if not 0 <= first < len(rows):
        raise InputError(
            f"--base_data_offset {first}: {folder} has {len(rows)} usable pictures", "They count from 0."
        )
    found = [rows[i] for i in range(first, min(len(rows), first + n_wanted))]
    how = validated(LowResConfig, low_res_settings(asked.flags, config), "data.low_res")
    parts = []
    for start in range(0, len(found), _BATCH):  # true pictures are large: few at a time
        some = found[start : start + _BATCH]
        pixels = torch.from_numpy(np.stack([_square(row, config.image_size_px) for row in some]))
        large, positions = to_network_range(pixels.permute(0, 3, 1, 2)), range(start, start + len(some))
        small_px = config.upsampler.small_size_px
        parts.append(make_low_res(large, small_px, how, seed=asked.seed or 0, positions=positions))
    return torch.cat(parts), [row.text or "" for row in found], [None] * len(found)


def _square(row: Row, edge_px: int) -> NDArray[np.uint8]:
    try:
        return np.asarray(fit_square(Image.fromarray(decode(fetch(row.uri))), edge_px))
    except (Rejection, OSError) as error:
        why = f"{error.cause} {error.detail}" if isinstance(error, Rejection) else str(error)
        raise InputError(
            f"{plain(row.uri)} cannot be enlarged: {plain(why).strip()}", "Take it out of --base_data_dir."
        ) from error
