"""What ran: versions, git state, machine, command line. Kept with every run and shown in every report."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["gather_provenance", "name_device"]

_PACKAGES = (
    "txtdiff",
    "torch",
    "numpy",
    "pillow",  # it resizes for Inception and CLIP
    "rapidocr",
    "onnxruntime",
    "easyocr",
    "open_clip_torch",
    "torch-fidelity",
    "torchmetrics",
    "rapidfuzz",
    "diffusers",
    "duckdb",
)


def gather_provenance(networks: bool = True) -> dict[str, Any]:
    """Everything that could explain a different number, as plain data.

    Args:
        networks: whether the run is to use any; else torch is not imported to ask it for its device.
    """
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "git": _git_state(),
        "versions": {name: _version(name) for name in _PACKAGES} | {"python": platform.python_version()},
        "machine": f"{platform.system()} {platform.machine()}",
    } | (_torch_state() if networks else {})


def name_device(device: torch.device) -> str:
    """A torch device as its vendor calls it; "cpu", or another's type."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _torch_state() -> dict[str, Any]:
    import torch

    return {
        "device": name_device(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        "threads": torch.get_num_threads(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_state() -> dict[str, Any] | None:
    """Commit of the checkout this code runs from, and whether files differ from it; None outside of git."""
    commit = _git("rev-parse", "HEAD")
    return (
        None if commit is None else {"commit": commit, "dirty": bool(_git("status", "--porcelain", "-uno"))}
    )


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
