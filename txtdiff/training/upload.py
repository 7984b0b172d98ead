"""A copy of each checkpoint in a bucket, or wherever fsspec reaches."""

from __future__ import annotations

from pathlib import Path

from fsspec.core import url_to_fs

from datatools.console import messages, plain
from txtdiff.training.checkpoint import MANIFEST

__all__ = ["upload"]


def upload(checkpoint: Path, url: str) -> bool:
    """Copy a checkpoint to `url`/step-<images>, the manifest last: an upload cut short is seen as such.

    A failure is told and answered with False: hours of training must not end because a network did.
    """
    files = sorted(checkpoint.iterdir(), key=lambda path: path.name == MANIFEST)
    try:
        store, root = url_to_fs(url)
        target = f"{root.rstrip('/')}/{checkpoint.name}"
        store.makedirs(target, exist_ok=True)
        for file in files:
            store.put_file(str(file), f"{target}/{file.name}")
    except Exception as error:  # every store has exception types of its own, and some are not installed
        messages.print(
            f"{checkpoint.name} was not copied to {plain(url)}: {plain(str(error))}",
            markup=False,
            soft_wrap=True,
        )
        return False
    return True
