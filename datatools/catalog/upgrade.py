"""From a catalog of an earlier schema version to one of this program's, without touching the old file.

Every step reads one version and writes the next into a new file beside: no ALTER ever runs on rows that
cost hours of reading. Only when the new file is whole, checkpointed and on the disk does it take the
catalog's name. The old file stays as `<name>.v1` and so on, for those who want to go back; nothing reads it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count, pairwise
from pathlib import Path

import duckdb

from datatools.atomic import atomic_open, fsync_directory
from datatools.catalog.schema import SCHEMA_VERSION, VIEWS
from datatools.console import say
from datatools.errors import InputError
from datatools.interruption import interruptible

__all__ = ["STEPS", "exclusive", "upgrade_catalog"]

STEPS: dict[int, dict[str, str]] = {
    # 2: pictures may be stored shrunk, px scales estimated, captions lie in files beside pictures; and the
    # limits that pictures were decoded with are known to those who decode them again.
    1: {
        "pictures": """
            SELECT *, width_px AS source_width_px, height_px AS source_height_px,
                NULL::VARCHAR AS stored_uri, NULL::BIGINT AS stored_bytes, NULL::VARCHAR AS stored_sha256,
                NULL::VARCHAR AS px_estimator
            FROM old.store.pictures""",
        "caption_files": """
            SELECT NULL::VARCHAR AS key, NULL::VARCHAR AS uri, NULL::BIGINT AS size_bytes,
                NULL::BIGINT AS mtime_ns, NULL::VARCHAR AS detail WHERE false""",
        "info": """
            FROM old.store.info
            UNION ALL SELECT 'limits', json_object(
                'max_bytes', max((settings->>'$.limits.max_bytes')::BIGINT),
                'max_pixels', max((settings->>'$.limits.max_pixels')::BIGINT),
                'min_edge_px', min((settings->>'$.limits.min_edge_px')::BIGINT))::VARCHAR
            FROM old.store.builds WHERE settings->>'$.limits.max_bytes' IS NOT NULL
            HAVING count(*) > 0""",
    },
}
"""Version -> what its step to the next one selects for a table; other tables are taken over as they are."""


def upgrade_catalog(path: Path) -> None:
    """Bring a catalog to SCHEMA_VERSION; killed at any moment, `path` is the whole old or the whole new file.

    Args:
        path: a catalog of a version in STEPS, that this process does not have open.

    Raises:
        InputError: the folder cannot be written, or the catalog is in use; `path` is as it was.
    """
    with exclusive(path.with_name(f".{path.name}.lock")):
        try:
            _merge_log(path)
            version = _version_of(path)
            if version == SCHEMA_VERSION:  # somebody else was quicker
                return
            drafts = [_draft(path, number) for number in range(version + 1, SCHEMA_VERSION + 1)]
            for number, (old, new) in enumerate(pairwise([path, *drafts]), start=version):
                _step(old, new, number)
            _put_in_place(path, drafts[-1], version)
        except (OSError, duckdb.Error) as error:
            raise InputError(
                f"{path} has an earlier schema version and cannot be upgraded: {error}",
                "It is as it was. Make room, or copy it to a folder that you may write, and try again.",
            ) from error
        finally:
            for number in range(1, SCHEMA_VERSION + 1):
                _remove(_draft(path, number))


def _version_of(path: Path) -> int:
    with duckdb.connect(str(path), read_only=True) as db:
        (value,) = db.execute("SELECT value FROM store.info WHERE name = 'schema_version'").fetchone() or (
            "",
        )
    return int(value)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """One process at a time is inside the block; others wait.

    Raises:
        InputError: the lock file cannot be made.
    """
    try:
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
    except OSError as error:
        raise InputError(
            f"{path.parent} cannot be written: {error.strerror}", "Choose another place."
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _draft(path: Path, version: int) -> Path:
    return path.with_name(f".{path.name}.v{version}.new")


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.wal")


def _remove(draft: Path) -> None:
    with suppress(OSError):
        draft.unlink(missing_ok=True)
        _log_of(draft).unlink(missing_ok=True)


@interruptible()
def _merge_log(path: Path) -> None:
    """A killed writer leaves a log beside the file; after the renaming it would belong to another file."""
    if not _log_of(path).exists():
        return
    with duckdb.connect(str(path)) as db:
        db.execute("CHECKPOINT")
    if _log_of(path).exists() and _log_of(path).stat().st_size:
        raise OSError(f"{_log_of(path).name} cannot be merged into it")


@interruptible()
def _step(old: Path, draft: Path, version: int) -> None:
    """Write the catalog `old` of `version` as one of the next version."""
    _remove(draft)
    with duckdb.connect(str(draft)) as db:
        # The order of rows is nobody's promise, and keeping it costs memory.
        db.execute("SET enable_progress_bar = false; SET preserve_insertion_order = false")
        db.execute(f"ATTACH '{_quoted(old)}' AS old (READ_ONLY)")
        db.execute("CREATE SCHEMA store")
        tables = db.execute(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = 'old' AND schema_name = 'store'"
        ).fetchall()
        for table in sorted({*(name for (name,) in tables), *STEPS[version]}):
            select = STEPS[version].get(table, f"FROM old.store.{table}")
            db.execute(f"CREATE TABLE store.{table} AS {select}")
        db.execute("UPDATE store.info SET value = ? WHERE name = 'schema_version'", [str(version + 1)])
        for name, sql in VIEWS.items() if version + 1 == SCHEMA_VERSION else ():
            db.execute(f"CREATE VIEW {name} AS {sql}")
        db.execute("CHECKPOINT")


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _put_in_place(path: Path, draft: Path, version: int) -> None:
    handle = os.open(draft, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    shutil.copymode(path, draft)
    kept = _keep(path, version)
    _log_of(path).unlink(missing_ok=True)  # empty: see _merge_log
    draft.replace(path)
    fsync_directory(path.parent)
    say(f"{path} was upgraded to schema version {SCHEMA_VERSION}; what it was is kept as {kept.name}")


def _keep(path: Path, version: int) -> Path:
    """A second name for the old file, which costs nothing until the first one goes."""
    names = (path.with_name(f"{path.name}.v{version}{'' if n == 1 else f'.{n}'}") for n in count(1))
    kept = next(name for name in names if not name.exists() or name.samefile(path))
    try:
        kept.hardlink_to(path)
    except FileExistsError:  # the same file: killed between this line and the renaming
        pass
    except OSError:  # a file system without hard links
        with path.open("rb") as old, atomic_open(kept) as copy:
            shutil.copyfileobj(old, copy)
    return kept
