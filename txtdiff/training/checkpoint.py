"""Checkpoints: directories that are there whole or not at all, and say so themselves.

A checkpoint `step-<images>` is written under another name, synced, sealed by a manifest with the sha256 of
every file, and renamed. Whatever kills the process, the newest directory whose manifest holds is a good one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from datatools.atomic import fsync_directory, make_directory
from datatools.console import plain, say
from datatools.errors import InputError
from datatools.home import expand_home
from txtdiff.pretrained import PREFIX, bundled_stage

if TYPE_CHECKING:  # checkpoints are found and verified without torch
    from torch import Tensor

__all__ = [
    "MANIFEST",
    "MANIFEST_LIMIT_BYTES",
    "as_url",
    "check_free",
    "check_there",
    "checkpoint_images",
    "digest_of",
    "find_checkpoint",
    "is_checkpoint_name",
    "list_checkpoints",
    "newest_checkpoint",
    "put_in_place",
    "read_manifest",
    "remove_old_checkpoints",
    "sweep",
    "verify_checkpoint",
    "write_checkpoint",
]

MANIFEST = "manifest.json"
_NAME = re.compile(r"step-(\d{1,18})")
_TEMPORARY = re.compile(r"\.(tmp|old)-step-\d+-\d+")
_PLAIN_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MANIFEST_LIMIT_BYTES = 1_000_000
_URL = re.compile(r"([a-z][a-z0-9+.-]+):/+(.*)")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def write_checkpoint(
    run_dir: Path, images: int, files: Mapping[str, Mapping[str, Tensor] | str], *, replace: bool = False
) -> Path:
    """Write `step-<images>` into `run_dir` and return its path.

    Args:
        run_dir: the run's directory; created if need be.
        images: pictures seen so far, the checkpoint's name.
        files: file name -> tensors (written as safetensors) or text.
        replace: take the place of a whole checkpoint too; a damaged one always gives way.

    Raises:
        InputError: a whole one is there. It stays as it was.
        OSError: the disk is full or fails. Nothing that was there is touched.
    """
    make_directory(run_dir)
    temporary = run_dir / f".tmp-step-{images}-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        entries = {name: _write_file(temporary / name, content) for name, content in files.items()}
        manifest = json.dumps({"format": 1, "images": images, "files": entries}, indent=1)
        _write_file(temporary / MANIFEST, manifest)
        fsync_directory(temporary)
        return put_in_place(temporary, run_dir / f"step-{images}", replace=replace)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _write_file(path: Path, content: Mapping[str, Tensor] | str) -> dict[str, int | str]:
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:

        def write(data: bytes | memoryview) -> None:
            nonlocal size
            file.write(data)
            digest.update(data)
            size += len(data)

        if isinstance(content, str):
            write(content.encode())
        else:
            from txtdiff.training.tensor_files import stream_tensors

            stream_tensors(content, write)
        file.flush()
        os.fsync(file.fileno())
    return {"size_bytes": size, "sha256": digest.hexdigest()}


def put_in_place(temporary: Path, final: Path, *, replace: bool = False) -> Path:
    """Give a finished checkpoint its name, and return it.

    Args:
        temporary: its directory so far, beside `final`.
        final: the name.
        replace: take the place of a whole checkpoint too; a damaged one always gives way.

    Raises:
        InputError: a whole one is there.
    """
    if not replace:
        check_free(final)
    if final.exists():  # a directory cannot be renamed over another
        old = final.with_name(f".old-{final.name}-{os.getpid()}")
        final.rename(old)
        temporary.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    else:
        temporary.rename(final)
    fsync_directory(final.parent)
    return final


def check_free(checkpoint: Path) -> None:
    """See that a checkpoint may be made there; a damaged one may be replaced.

    Raises:
        InputError: a whole one has that name.
    """
    if not checkpoint.exists():
        return
    try:
        verify_checkpoint(checkpoint)
    except InputError:
        return
    raise InputError(f"{checkpoint} is there already, and whole", "Choose another --out.")


def verify_checkpoint(path: Path, contents: Collection[str] | None = None) -> None:
    """Check every file of a checkpoint against its manifest.

    Args:
        path: the checkpoint.
        contents: files whose content is compared, the others by their size; None: all.

    Raises:
        InputError: the manifest is missing or malformed, or a file is missing, of another size or content.
    """
    for name, entry in read_manifest(path).items():
        file = path / name
        if not file.is_file() or file.is_symlink():
            raise InputError(f"checkpoint {path}: {name} is missing", "It is damaged; use another one.")
        same = file.stat().st_size == entry["size_bytes"]
        if same and (contents is None or name in contents):
            same = _sha256(file) == entry["sha256"]
        if not same:
            raise InputError(
                f"checkpoint {path}: {name} is not what the manifest says", "It is damaged; use another one."
            )


def read_manifest(path: Path) -> dict[str, dict[str, int | str]]:
    """File name -> size_bytes and sha256, as a checkpoint's manifest has them.

    Raises:
        InputError: it is missing or malformed.
    """
    manifest = path / MANIFEST
    try:
        if manifest.stat().st_size > MANIFEST_LIMIT_BYTES:
            raise ValueError("too large")
        content = json.loads(manifest.read_text("utf-8"))
        files = content["files"]
        if content["format"] != 1:
            raise ValueError(f"format {content['format']}, this version reads format 1")
        for name, entry in files.items():
            if not _PLAIN_FILE.fullmatch(name) or not _SHA256.fullmatch(entry["sha256"]):
                raise ValueError(f"entry {name!r}")
            if type(entry["size_bytes"]) is not int:
                raise ValueError(f"entry {name!r}")
    except FileNotFoundError:
        raise InputError(f"{path} is no checkpoint: it has no {MANIFEST}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"checkpoint {path}: its {MANIFEST} cannot be used ({plain(str(error))})") from error
    return dict(files)


def digest_of(checkpoint: Path) -> str:
    """sha256 of a checkpoint's manifest, which seals every file: the checkpoint's identity."""
    return _sha256(checkpoint / MANIFEST)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checkpoint_images(path: Path) -> int:
    """Pictures seen by the checkpoint, from its name."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise InputError(f"{path} is not called like a checkpoint (step-<images>)")
    return int(match[1])


def is_checkpoint_name(name: str) -> bool:
    """Whether a folder is called like a checkpoint."""
    return _NAME.fullmatch(name) is not None


def as_url(path: Path) -> str | None:
    """The address that a path was typed as, s3://bucket/run; None for a path of this machine.

    A Path makes one slash of two.
    """
    match = _URL.fullmatch(str(path))
    if match is None or str(path).startswith(PREFIX):
        return None
    return f"{match[1]}://{'/' if match[1] == 'file' else ''}{match[2]}"


def list_checkpoints(run_dir: Path) -> list[Path]:
    """All checkpoint directories of a run, oldest first, valid or not."""
    if not run_dir.is_dir():
        return []
    found = [path for path in run_dir.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=checkpoint_images)


def newest_checkpoint(run_dir: Path, contents: Collection[str] | None = None) -> Path | None:
    """The newest checkpoint that verifies; damaged ones are named and passed over.

    Args:
        run_dir: the run's directory.
        contents: as of `verify_checkpoint`.
    """
    for path in reversed(list_checkpoints(run_dir)):
        try:
            verify_checkpoint(path, contents)
        except InputError as error:
            say(error.what, warning="passed over")
        else:
            return path
    return None


def check_there(path: Path) -> None:
    """Tell at once of a path where no run or checkpoint can be; `find_checkpoint` looks into what is there.

    Raises:
        InputError: it is no directory of this machine.
    """
    if str(path).startswith(PREFIX):
        bundled_stage(str(path))
    elif as_url(path) is None and not expand_home(path).is_dir():
        raise InputError(
            f"there is no directory {path}", "Give a run directory, or one of its step-<images>."
        )


def find_checkpoint(path: Path, contents: Collection[str] | None = None) -> Path:
    """The checkpoint that `path` means: itself, or the newest valid one of a run directory.

    A URL that fsspec knows (s3://bucket/run) means a local copy of what lies there.

    Args:
        path: a checkpoint, a run directory, a URL or a bundled stage.
        contents: as of `verify_checkpoint`, where only these files will be read.

    Raises:
        InputError: there is none, or the one named is damaged.
    """
    if str(path).startswith(PREFIX):
        path = bundled_stage(str(path))
    url = as_url(path)
    if url is not None:
        from txtdiff.training.bucket import fetch_checkpoint  # fsspec is loaded where a bucket is named

        path = fetch_checkpoint(url)
    path = expand_home(path)
    if _NAME.fullmatch(path.name) or (path / MANIFEST).exists():
        verify_checkpoint(path, contents)
        return path
    check_there(path)
    newest = newest_checkpoint(path, contents)
    if newest is None:
        raise InputError(f"{path} holds no valid checkpoint", "`txtdiff train --out` writes them there.")
    return newest


def remove_old_checkpoints(saved: Path, keep: int) -> None:
    """Remove the checkpoints before `saved`, which was just written, so that `keep` are left with it.

    Those of a higher number stay: they are damaged ones that this run passed over when it was resumed, and
    must not take the place of a good one. They are replaced when the run comes to their count.
    """
    until = [
        path for path in list_checkpoints(saved.parent) if checkpoint_images(path) <= checkpoint_images(saved)
    ]
    for path in until[:-keep]:
        # Renamed first: a directory half removed must not look like a checkpoint.
        doomed = path.with_name(f".old-{path.name}-{os.getpid()}")
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def sweep(run_dir: Path) -> None:
    """Remove what a killed process left half written in a run directory."""
    for path in run_dir.glob(".*-step-*"):
        if _TEMPORARY.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)
