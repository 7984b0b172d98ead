"""Tensors in pickled files (.pt, .bin), which may be a stranger's: nothing in them is run."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from datatools.errors import InputError

__all__ = ["named_tensors", "read_pickled"]


def read_pickled(path: Path, what: str, remedy: str | None = None) -> Any:
    """What a file of PyTorch's holds, on the CPU: tensors, numbers, texts and plain containers only.

    Args:
        what: it should be, in words: "weights".
        remedy: what to do about one that cannot be read.

    Raises:
        InputError: missing, damaged, or with more in it.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # for a damaged file PyTorch raises anything: AssertionError, struct.error
        raise InputError(f"{path} cannot be read as {what}: {_why(error)}", remedy) from error


def named_tensors(found: object, path: Path, remedy: str | None = None) -> dict[str, Tensor]:
    """`found` in `path` as a state dict.

    Raises:
        InputError: it is none.
    """
    if not isinstance(found, dict):
        raise InputError(f"{path} holds no state dict but {type(found).__name__}", remedy)
    for name, tensor in found.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise InputError(f"{path} holds more than named tensors: {type(tensor).__name__}", remedy)
    return {name: tensor.detach() for name, tensor in found.items()}


def _why(error: BaseException) -> str:
    """The cause in a line, without PyTorch's advice to load what it refused all the same."""
    said = str(error)
    if isinstance(error, UnpicklingError) or "weights_only" in said:
        return "it is damaged, or holds more than tensors; nothing in it was run"
    return said.splitlines()[0] if said else type(error).__name__
