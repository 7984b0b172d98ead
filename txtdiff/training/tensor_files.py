"""safetensors files: written as a stream, read strictly into tensors that are already there.

The library writes a file from one copy of everything in memory. A large model's optimiser state is then held
twice, so the (simple) format is written here tensor by tensor; reading is the library's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from datatools.errors import InputError
from txtdiff.training.contents import read_header
from txtdiff.training.sharding import fill

__all__ = ["check_shapes", "read_tensors", "stream_tensors"]

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def stream_tensors(tensors: Mapping[str, Tensor], write: Callable[[bytes | memoryview], Any]) -> None:
    """Write `tensors` as a safetensors file through `write`, holding a copy of one tensor at a time."""
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # data begin aligned
    write(len(text).to_bytes(8, "little"))
    write(text)
    for tensor in tensors.values():
        data = tensor.detach().cpu().contiguous().reshape(-1)
        if data.numel():
            write(data.view(torch.uint8).numpy().data)


def read_tensors(path: Path, into: Mapping[str, Tensor], passed_over: Collection[str] = ()) -> None:
    """Copy the file's tensors into `into`, which must have exactly its names and shapes.

    Args:
        path: the file.
        into: changed in place.
        passed_over: names that the file may have besides.

    Raises:
        InputError: unreadable, or names or shapes differ; the message lists the first few.
    """
    check_shapes(path, {name: tuple(tensor.shape) for name, tensor in into.items()}, passed_over)
    with torch.no_grad(), safe_open(path, framework="pt") as file:
        for name, tensor in into.items():
            fill(tensor, file.get_tensor(name))


def check_shapes(
    path: Path, wanted: Mapping[str, tuple[int, ...]], passed_over: Collection[str] = ()
) -> None:
    """Compare the names and shapes in a file with those of a network, without reading data.

    Args:
        path: the file.
        wanted: name -> shape.
        passed_over: names that the file may have besides.

    Raises:
        InputError: unreadable, or names or shapes differ; the message lists the first few.
    """
    found = {name: shape for name, shape in read_header(path).items() if name not in passed_over}
    faults = [f"{name}: missing" for name in wanted if name not in found]
    faults += [f"{name}: unknown" for name in found if name not in wanted]
    faults += [
        f"{name}: {list(found[name])} in the file, {list(shape)} in the network"
        for name, shape in wanted.items()
        if name in found and found[name] != shape
    ]
    if faults:
        more = f"\n  … and {len(faults) - 5} more" if len(faults) > 5 else ""
        listed = "\n  ".join(faults[:5])
        raise InputError(
            f"{path} does not fit the network:\n  {listed}{more}",
            "It belongs to a model with other settings.",
        )
