"""What lies in a checkpoint: names of its files, its settings and facts, names and shapes of its tensors.

All that is known of a checkpoint without its weights, and so without torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from datatools.bounded_files import read_json, read_text
from datatools.errors import InputError
from txtdiff.config import RunConfig
from txtdiff.config_files import SETTINGS_LIMIT_BYTES, config_from_toml

__all__ = [
    "CAPTION_TOWER",
    "CONFIG",
    "MODEL",
    "OPTIMIZER",
    "STATE",
    "average_file",
    "load_config",
    "profile_file",
    "read_facts",
    "read_header",
]

MODEL = "model.safetensors"
OPTIMIZER = "optim.safetensors"
CONFIG = "config.toml"
STATE = "state.json"
CAPTION_TOWER = "captions.safetensors"
_STATE_LIMIT_BYTES = 1_000_000


def average_file(rate: float) -> str:
    """Name of the file with the averages of one rate."""
    return f"average-{rate}.safetensors"


def profile_file(length: float) -> str:
    """Name of the file with the power-function average of one length."""
    return f"profile-{length}.safetensors"


def load_config(checkpoint: Path) -> RunConfig:
    """The settings stored in a checkpoint."""
    path = checkpoint / CONFIG
    return config_from_toml(read_text(path, "a settings file", SETTINGS_LIMIT_BYTES), str(path))


def read_facts(checkpoint: Path) -> dict[str, Any]:
    """The state.json of a checkpoint."""
    facts = read_json(checkpoint / STATE, "the state of a run", _STATE_LIMIT_BYTES)
    if not isinstance(facts, dict):
        raise InputError(f"{checkpoint / STATE} holds no object")
    return facts


def read_header(path: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor in the file, without reading data.

    Raises:
        InputError: no safetensors file, or its header contradicts its size.
    """
    try:
        with safe_open(path, framework="np") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path} cannot be read: {error}", "It is damaged or no safetensors file."
        ) from error
