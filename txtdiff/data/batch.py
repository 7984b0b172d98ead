"""Samples to batches of tensors, and the loader that makes them in worker processes."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datatools.errors import InputError
from txtdiff.data.dataset import Sample
from txtdiff.data.order import noise_at, uniform_at
from txtdiff.data.tokenizer import encode_captions, encode_texts
from txtdiff.diffusion.naming import UNKNOWN
from txtdiff.model.config import ModelConfig

__all__ = ["Batch", "Conditions", "collate", "conditions_of", "load_batches", "to_network_range"]


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the network is told besides the noisy picture."""

    max_text_length: int | None = None
    """Limit on token ids of a transcription; None: the network takes none."""
    tokenizer: str = "char"
    """What turns transcriptions into token ids, "char" or "clip"."""
    captions: bool = False
    """Whether it takes captions."""
    classes: bool = False
    """Whether it takes classes."""
    channels: int = 3
    """1 for grey pictures, 3 for RGB."""
    map_size_px: int | None = None
    """Edge of the map that says which character stands where, for a network that learns to; None: none."""


def conditions_of(model: ModelConfig) -> Conditions:
    """What a network with these settings is told."""
    return Conditions(
        max_text_length=None if model.text is None else model.text.max_length,
        tokenizer="char" if model.text is None else model.text.tokenizer,
        captions=model.captions is not None,
        classes=model.n_classes is not None,
        channels=model.image_channels,
        map_size_px=model.map_size_px if model.text is not None and model.text.names_characters else None,
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """Training pictures with what belongs to them."""

    positions: list[int]
    pictures: Tensor
    """(B, C, H, W) uint8."""
    txt: Tensor | None
    """(B, L) int64 token ids."""
    capt: Tensor | None
    """(B, 77) int64 CLIP ids."""
    y: Tensor | None
    """(B,) int64 classes."""
    characters: Tensor | None
    """(B, M, M) int64: the character in each cell, 0 for none, UNKNOWN where nobody knows."""
    texts: list[str]
    captions: list[str]
    failures: list[tuple[str, str]]
    """(key, cause) of pictures that could not be read; others stand in their place."""
    time: Tensor | None = None
    """(B,) float64 in [0, 1), from which timesteps follow; None: not drawn."""
    noise: Tensor | None = None
    """(B, C, H, W) standard normal; None: not drawn."""

    def __len__(self) -> int:
        return len(self.positions)

    def part(self, which: slice) -> Batch:
        """Some of the pictures."""
        parts: dict[str, Any] = {name: tensor[which] for name, tensor in self._tensors().items()}
        parts |= {name: getattr(self, name)[which] for name in ("positions", "texts", "captions")}
        return replace(self, **parts)

    def pin_memory(self) -> Batch:
        """The same in memory that a GPU fetches by itself; the loader asks for it."""
        pinned: dict[str, Any] = {name: tensor.pin_memory() for name, tensor in self._tensors().items()}
        return replace(self, **pinned)

    def _tensors(self) -> dict[str, Tensor]:
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in given.items() if isinstance(value, Tensor)}

    def conditioning(self, device: torch.device | str) -> dict[str, Tensor]:
        """What the network is told, on `device`, as its keyword arguments."""
        given = {"txt": self.txt, "capt": self.capt, "y": self.y}
        return {k: ids.to(device, non_blocking=True) for k, ids in given.items() if ids is not None}


def load_batches(
    dataset: Dataset[Sample],
    positions: Iterable[list[int]],
    conditions: Conditions,
    *,
    workers: int,
    prefetch: int,
    pin_memory: bool,
    seed: int | None = None,
) -> Iterator[Batch]:
    """Batches for the given positions, in that order, read by `workers` processes (0: by this one).

    With a seed they draw time and noise too: while a GPU computes, its process has better things to do.

    Raises:
        InputError: from the iterator, where no picture can be read.
    """
    loader: DataLoader[Batch | InputError] = DataLoader(
        _Told(dataset),  # type: ignore[arg-type]  # the collate function turns Samples into a Batch
        batch_sampler=positions,
        collate_fn=partial(_collate_or_tell, conditions=conditions, seed=seed),
        num_workers=workers,
        prefetch_factor=prefetch if workers else None,
        pin_memory=pin_memory,
        worker_init_fn=_outlive_one_sigterm,
        # Its own generator: the loader would otherwise draw a seed from the global one at every start.
        generator=torch.Generator(),
    )
    return map(_raised, iter(loader))


def _outlive_one_sigterm(worker: int) -> None:
    """A job is stopped by a signal to all of its processes: the main one still has a checkpoint to write, and
    would find its workers gone. It ends them itself, at the latest by a second signal."""

    def note(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, note)


class _Told(Dataset[Sample | InputError]):
    """Samples, or what is wrong with the input, as a value: the loader makes a worker's error its own, with
    a traceback for a message and without the remedy."""

    def __init__(self, dataset: Dataset[Sample]) -> None:
        self._dataset = dataset

    def __getitem__(self, position: int) -> Sample | InputError:
        try:
            return self._dataset[position]
        except InputError as error:
            return error


def _collate_or_tell(
    samples: Sequence[Sample | InputError], conditions: Conditions, seed: int | None
) -> Batch | InputError:
    faults = [sample for sample in samples if isinstance(sample, InputError)]
    if faults:
        return faults[0]
    return collate([sample for sample in samples if isinstance(sample, Sample)], conditions, seed)


def _raised(batch: Batch | InputError) -> Batch:
    if isinstance(batch, InputError):
        raise batch
    return batch


def collate(samples: Sequence[Sample], conditions: Conditions, seed: int | None = None) -> Batch:
    """Put samples together; texts become token ids here, in the worker. With a seed, time and noise too."""
    pixels = np.stack([sample.pixels for sample in samples])
    pictures = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    if conditions.channels == 1:
        pictures = _grey(pictures)
    positions = [sample.position for sample in samples]
    texts = [sample.txt for sample in samples]
    captions = [sample.capt for sample in samples]
    length = conditions.max_text_length
    return Batch(
        positions=positions,
        pictures=pictures,
        txt=None if length is None else encode_texts(texts, length, conditions.tokenizer),
        capt=encode_captions(captions) if conditions.captions else None,
        y=torch.tensor([sample.label for sample in samples]) if conditions.classes else None,
        characters=_character_maps(samples, conditions.map_size_px),
        texts=texts,
        captions=captions,
        failures=[failure for sample in samples for failure in sample.failures],
        time=None if seed is None else uniform_at(seed, "time", positions),
        noise=None if seed is None else noise_at(seed, "noise", positions, pictures.shape[1:]),
    )


def _character_maps(samples: Sequence[Sample], map_size_px: int | None) -> Tensor | None:
    if map_size_px is None:
        return None
    unknown = np.full((map_size_px, map_size_px), UNKNOWN)
    maps = [unknown if sample.characters is None else sample.characters for sample in samples]
    return torch.from_numpy(np.stack(maps))


def _grey(pictures: Tensor) -> Tensor:
    """RGB to one channel with Pillow's weights (ITU-R 601-2, in 1/65536)."""
    weights = torch.tensor([19595, 38470, 7471]).view(3, 1, 1)
    return ((pictures.long() * weights).sum(1, keepdim=True) + 0x8000 >> 16).to(torch.uint8)


def to_network_range(pictures: Tensor) -> Tensor:
    """uint8 pictures to float32 in [-1, 1], as the fork: x / 127.5 - 1."""
    return pictures.float() / 127.5 - 1
