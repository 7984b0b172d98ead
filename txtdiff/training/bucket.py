"""Copies of a run's checkpoints in a bucket, or wherever fsspec reaches: there and back.

URL/step-<images>/ holds a checkpoint as it lies on disk; its manifest is written last, so a copy cut
short has none. Beside them lie metrics.jsonl and profiles/, so that a run goes on elsewhere as at home.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from datatools.atomic import write_bytes_atomic
from datatools.console import plain, say
from datatools.errors import InputError
from datatools.home import cache_folder
from txtdiff.training.checkpoint import (
    MANIFEST,
    MANIFEST_LIMIT_BYTES,
    checkpoint_images,
    is_checkpoint_name,
    put_in_place,
    read_manifest,
    verify_checkpoint,
)

__all__ = ["check_upload", "fetch_checkpoint", "fetch_newer", "upload"]

METRICS, PROFILES = "metrics.jsonl", "profiles"


class _UnreachableError(InputError):
    """A store cannot be reached. Of a copy that is damaged there an InputError tells."""


class _Bucket(NamedTuple):
    """A run's folder in a store."""

    url: str
    store: AbstractFileSystem
    root: str

    def read(self, reach: Callable[[], Any]) -> Any:
        """What `reach` returns. FileNotFoundError passes, anything else is told as _UnreachableError."""
        try:
            return reach()
        except (FileNotFoundError, InputError):
            raise
        except Exception as error:  # every store has exception types of its own
            raise _unreachable(self.url, error) from error

    def checkpoints(self) -> list[str]:
        """Names of the step-<images> folders, newest first; there may be none."""
        try:
            self.store.invalidate_cache()
            found = self.read(partial(self.store.ls, self.root, detail=False))
        except FileNotFoundError:
            return []
        names = {PurePosixPath(str(path)).name for path in found}
        return sorted(filter(is_checkpoint_name, names), key=lambda name: -checkpoint_images(Path(name)))


def _open(url: str) -> _Bucket:
    try:
        store, root = url_to_fs(url)
    except Exception as error:  # no such kind of store, its package not installed, no credentials
        raise _unreachable(url, error) from error
    return _Bucket(url, store, str(root).rstrip("/"))


def _unreachable(url: str, error: Exception) -> _UnreachableError:
    what = plain(str(error)) or type(error).__name__
    return _UnreachableError(
        f"{plain(url)} cannot be read: {what}", "Check address, credentials and network."
    )


def upload(checkpoint: Path, url: str) -> bool:
    """Copy a checkpoint and the log of its run to `url`, the manifest last.

    A failure is told and answered with False: hours of training must not end because a network did.
    """
    run_dir = checkpoint.parent
    files = sorted(checkpoint.iterdir(), key=lambda path: path.name == MANIFEST)
    try:
        store, root = url_to_fs(url)
        root = str(root).rstrip("/")
        target = f"{root}/{checkpoint.name}"
        store.makedirs(target, exist_ok=True)
        if store.exists(f"{target}/{MANIFEST}"):
            store.rm_file(f"{target}/{MANIFEST}")
        if (run_dir / METRICS).exists():
            store.put_file(str(run_dir / METRICS), f"{root}/{METRICS}")
        for copy in sorted((run_dir / PROFILES).glob("*.safetensors")):
            store.makedirs(f"{root}/{PROFILES}", exist_ok=True)
            if not store.exists(f"{root}/{PROFILES}/{copy.name}"):
                store.put_file(str(copy), f"{root}/{PROFILES}/{copy.name}")
        for file in files:
            store.put_file(str(file), f"{target}/{file.name}")
    except Exception as error:  # every store has exception types of its own, and some are not installed
        say(f"{checkpoint.name} was not copied to {url}: {error}")
        return False
    return True


def check_upload(url: str, run_dir: Path) -> None:
    """See that copies do not go where the checkpoints themselves lie: each would be damaged by its own copy.

    Raises:
        InputError: `url` is the run directory.
    """
    try:
        store, root = url_to_fs(url)
    except Exception:  # what cannot be opened is told by the first copy, and the run goes on
        return
    if isinstance(store, LocalFileSystem) and Path(str(root)).resolve() == run_dir.resolve():
        raise InputError(f"run.upload = {plain(url)} is the run directory itself", "Name another place.")


def fetch_newer(url: str, run_dir: Path, newest: Path | None) -> Path | None:
    """Bring the newest whole checkpoint of `url` into a run directory whose own is older.

    Args:
        url: where an earlier run was told to copy its checkpoints (`run.upload`).
        run_dir: the run's directory; its log is replaced by the one that goes with the checkpoint.
        newest: the checkpoint that it has.

    Returns:
        The checkpoint fetched; None when there is no newer one.

    Raises:
        InputError: the store cannot be reached and the run directory has nothing to go on from. (With a
            checkpoint of its own a run goes on; the copies are tried again when it saves.)
    """
    try:
        bucket = _open(url)
        fetched = _fetch_newest(bucket, run_dir, -1 if newest is None else checkpoint_images(newest))
    except _UnreachableError as error:
        if newest is None:
            raise
        say(error.what, warning="nothing was fetched")
        return None
    if fetched is not None:
        say(f"{fetched.name} was fetched from {url}")
    return fetched


def _fetch_newest(bucket: _Bucket, run_dir: Path, reached: int) -> Path | None:
    """The newest whole checkpoint of a bucket beyond `reached` images, with what goes with it."""
    for name in bucket.checkpoints():
        if checkpoint_images(Path(name)) <= reached:
            return None
        try:
            with _copied(bucket, name, run_dir) as temporary:
                # The checkpoint last: once it is there, nobody asks the bucket for its log again.
                _fetch_beside(bucket, run_dir)
                return put_in_place(temporary, run_dir / name)
        except FileNotFoundError:  # without a manifest: a copy that was cut short
            continue
        except _UnreachableError:
            raise
        except InputError as error:
            say(error.what, warning="passed over")
    return None


def fetch_checkpoint(url: str) -> Path:
    """A local copy of the checkpoint that a URL means: a step-<images>, or the newest of a run.

    Copies lie in ~/.cache/txtdiff/checkpoints and are used again as long as the manifest is the same.

    Raises:
        InputError: the store cannot be reached, or holds no whole checkpoint there.
    """
    bucket = _open(url)
    root = PurePosixPath(bucket.root)
    if is_checkpoint_name(root.name):
        bucket, names = bucket._replace(root=str(root.parent)), [root.name]
    else:
        names = bucket.checkpoints()
    home = cache_folder()
    if home is None:
        raise InputError("there is no home to keep fetched checkpoints in", "Set XDG_CACHE_HOME to a folder.")
    cache = home / "checkpoints"
    for name in names:
        folder = cache / hashlib.sha256(f"{bucket.url}\n{bucket.root}".encode()).hexdigest()[:16]
        try:
            manifest = _manifest(bucket, name)
            if (folder / name).is_dir() and (folder / name / MANIFEST).read_bytes() == manifest:
                return folder / name
            with _copied(bucket, name, folder) as temporary:
                return put_in_place(temporary, folder / name, replace=True)
        except FileNotFoundError:
            continue
        except InputError as error:
            if len(names) == 1:
                raise
            say(error.what, warning="passed over")
    raise InputError(
        f"there is no whole checkpoint at {plain(url)}", "Give a run, or one of its step-<images>."
    )


def _manifest(bucket: _Bucket, name: str) -> bytes:
    path = f"{bucket.root}/{name}/{MANIFEST}"
    if bucket.read(partial(bucket.store.size, path)) > MANIFEST_LIMIT_BYTES:
        raise InputError(f"{plain(bucket.url)}: the {MANIFEST} of {name} is too large")
    return bytes(bucket.read(partial(bucket.store.cat_file, path)))


@contextmanager
def _copied(bucket: _Bucket, name: str, folder: Path) -> Iterator[Path]:
    """A whole copy of a checkpoint in `folder`, under another name; what does not get its own is removed.

    Raises:
        FileNotFoundError: it has no manifest.
        InputError: it is not what its manifest says.
    """
    temporary = folder / f".tmp-{name}-{os.getpid()}"
    manifest = _manifest(bucket, name)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        (temporary / MANIFEST).write_bytes(manifest)
        for file, entry in read_manifest(temporary).items():
            source = f"{bucket.root}/{name}/{file}"
            try:
                size = bucket.read(partial(bucket.store.size, source))
            except FileNotFoundError:
                size = None
            if size != entry["size_bytes"]:
                raise InputError(f"{plain(bucket.url)}: {name}/{file} is not what the manifest says")
            bucket.read(partial(bucket.store.get_file, source, str(temporary / file)))
        verify_checkpoint(temporary)
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _fetch_beside(bucket: _Bucket, run_dir: Path) -> None:
    """The log and the kept averages that go with a run's checkpoints."""
    wanted = [METRICS]
    try:
        found = bucket.read(partial(bucket.store.ls, f"{bucket.root}/{PROFILES}", detail=False))
        names = (PurePosixPath(str(path)).name for path in found)
        wanted += [f"{PROFILES}/{name}" for name in names if name.endswith(".safetensors")]
    except FileNotFoundError:
        pass
    for name in wanted:
        if name != METRICS and (run_dir / name).exists():
            continue
        try:
            content = bucket.read(partial(bucket.store.cat_file, f"{bucket.root}/{name}"))
        except FileNotFoundError:
            continue
        write_bytes_atomic(run_dir / name, bytes(content))
