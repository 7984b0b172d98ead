"""The evaluation store: one DuckDB file, and beside it a folder of PNG files named by their content.

One process writes. Every batch is committed as it is made, so killing a run loses the batch in flight only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import duckdb

from datatools.atomic import write_bytes_atomic
from datatools.console import say
from datatools.errors import InputError
from datatools.interruption import hold_interruptions, interruptible
from eval.machine.places import make_folder_of
from eval.store.schema import ADDED_TABLES, SCHEMA_VERSION, TABLES, UPGRADES

if TYPE_CHECKING:  # Arrow, numpy and Pillow wait until there are rows and pictures, pandas for `frame`
    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    import pyarrow as pa

__all__ = ["Store", "open_store"]

# A full disk is met while writing, while committing, or by a database that gave up after either.
_DISK_FAILURES = (duckdb.IOException, duckdb.TransactionException, duckdb.FatalException)


class Store:
    """An open evaluation store. A context manager; made by `open_store`."""

    def __init__(self, path: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self.path = path
        self._connection = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failure = error
        try:
            self.close()
        except duckdb.Error as fault:  # closing writes what is still in memory
            failure = error or fault
        if isinstance(failure, _DISK_FAILURES):
            raise InputError(
                f"{self.path} cannot be written: {failure}",
                "Free some space on its disk and run the same command again: what was finished is kept.",
            ) from failure

    def close(self) -> None:
        """Close the file; another process may open it then."""
        self._connection.close()

    def frame(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> pd.DataFrame:
        """The answer to a query as a pandas frame. Values go into `params`, never into the text."""
        with interruptible():
            return self._connection.execute(sql, params or None).df()

    def arrow(self, sql: str) -> pa.Table:
        """The answer to one SELECT, which may be a user's and take for ever, as an Arrow table.

        It runs in a thread: DuckDB does not always look for signals while it works, Python's own wait does.
        """
        with ThreadPoolExecutor(1) as pool, interruptible():
            answer = pool.submit(self._arrow, sql)
            try:
                return answer.result()
            except KeyboardInterrupt:
                self._connection.interrupt()
                raise

    def _arrow(self, sql: str) -> pa.Table:
        import pyarrow as pa

        relation = self._connection.sql(sql)
        return relation.to_arrow_table() if relation is not None else pa.table({})

    def rows(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """The answer to a query as tuples."""
        with interruptible():
            return self._connection.execute(sql, params or None).fetchall()

    def write(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows, all with the same columns, in one transaction; an existing key is replaced."""
        if rows:
            self.write_table(table, _as_arrow(rows))

    def write_table(self, table: str, rows: pa.Table) -> None:
        """`write` for an Arrow table."""
        with hold_interruptions():
            view = self._connection.register("incoming", rows)
            try:
                view.execute(f'INSERT OR REPLACE INTO "{table}" BY NAME SELECT * FROM incoming')
            finally:
                self._connection.unregister("incoming")

    def execute(self, sql: str, params: Sequence[Any] = ()) -> None:
        """Run a statement that answers nothing; Ctrl-C waits for its end."""
        with hold_interruptions():
            self._connection.execute(sql, list(params) or None)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is written while the block runs is kept as a whole, or not at all when it raises.

        Ctrl-C waits for its end.
        """
        with hold_interruptions():
            self._connection.begin()
            try:
                yield
            except BaseException:
                self._connection.rollback()
                raise
            self._connection.commit()

    def add_picture(self, picture: npt.NDArray[np.uint8]) -> str:
        """Keep a picture, (H, W, 3) uint8, as PNG; returns the sha256 of the file, which is its name."""
        from PIL import Image

        buffer = BytesIO()
        Image.fromarray(picture).save(buffer, "PNG")
        data = buffer.getvalue()
        sha256 = hashlib.sha256(data).hexdigest()
        # One that lost bits since it was made must not stand in for what was just made again.
        if not self.has_picture(sha256):
            write_bytes_atomic(self.picture_path(sha256), data)
        return sha256

    def has_picture(self, sha256: str) -> bool:
        """Whether the PNG file of that content is there and whole."""
        try:
            return hashlib.sha256(self.picture_path(sha256).read_bytes()).hexdigest() == sha256
        except OSError:
            return False

    def picture_path(self, sha256: str) -> Path:
        """Where the PNG file of that content is or would be."""
        return self.path.with_suffix(".pictures") / sha256[:2] / f"{sha256}.png"


@interruptible()
def open_store(path: Path, mode: Literal["write", "update", "read"] = "read") -> Store:
    """Open a store; `write` creates a missing one, `update` changes only one that is there.

    Raises:
        InputError: missing, in use by another process, no DuckDB file, of another schema version, or in a
            place where no file can be made.
    """
    if mode != "write" and not path.is_file():
        raise InputError(
            f"no evaluation store at {path}", "txtdiff-eval run or score with --store makes one."
        )
    if path.is_dir():
        raise InputError(f"{path} is a folder", "A store is one file, e.g. eval.duckdb.")
    if mode == "write":
        make_folder_of(path)
    try:
        connection = duckdb.connect(str(path), read_only=mode == "read")
    except duckdb.IOException as error:
        raise InputError(*_explain(path, str(error))) from error
    if (version := _version(connection)) in UPGRADES:
        connection = _upgrade(path, connection, version, mode)
    try:
        # A store holds strangers' texts: no statement may reach other files through it.
        connection.execute("SET enable_external_access = false")
        _prepare(path, connection, mode)
    except BaseException:
        connection.close()
        raise
    return Store(path, connection)


def _version(connection: duckdb.DuckDBPyConnection) -> str | None:
    tables = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    if not {"meta", "samples"} <= tables:
        return None
    [(version,)] = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchall()
    return str(version)


def _upgrade(
    path: Path, old: duckdb.DuckDBPyConnection, version: str, mode: str
) -> duckdb.DuckDBPyConnection:
    """Bring a store of an older version up to date, as a whole or not at all, and open it again."""
    old.close()
    try:
        connection = duckdb.connect(str(path))
    except duckdb.IOException as error:
        if "lock" in str(error).lower():
            raise InputError(*_explain(path, str(error))) from error
        what = f"{path} has schema version {version} and cannot be brought to {SCHEMA_VERSION}: {error}"
        raise InputError(what, "Make it writable, or copy it to where you may write.") from error
    try:
        version = _version(connection) or version  # another process may have been there first
        if version == str(SCHEMA_VERSION):
            return _reopened(path, connection, mode)
        steps = "".join(sql for since, sql in UPGRADES.items() if int(since) >= int(version))
        now = f"UPDATE meta SET value = '{SCHEMA_VERSION}' WHERE key = 'schema_version';"
        connection.execute(f"BEGIN; {steps} {now} {ADDED_TABLES} COMMIT")
        say(f"{path}: schema version {version} was brought to {SCHEMA_VERSION}")
        return _reopened(path, connection, mode)
    except duckdb.IOException as error:
        connection.close()
        raise InputError(*_explain(path, str(error))) from error
    except BaseException:
        connection.close()
        raise


def _reopened(path: Path, connection: duckdb.DuckDBPyConnection, mode: str) -> duckdb.DuckDBPyConnection:
    """The connection for a mode, of one that may write."""
    if mode != "read":
        return connection
    connection.close()
    return duckdb.connect(str(path), read_only=True)


def _prepare(path: Path, connection: duckdb.DuckDBPyConnection, mode: str) -> None:
    tables = connection.execute("SELECT count(*) FROM duckdb_tables()").fetchall()
    if mode == "write" and tables == [(0,)]:  # new, or killed before its first commit
        connection.execute("BEGIN")
        connection.execute(TABLES + ADDED_TABLES)
        connection.execute("INSERT INTO meta VALUES ('schema_version', ?)", [str(SCHEMA_VERSION)])
        connection.execute("COMMIT")
        return
    version = _version(connection)
    if version is None:
        raise InputError(f"{path} is a DuckDB file but no evaluation store", "Give another --store.")
    if version != str(SCHEMA_VERSION):
        raise InputError(
            f"{path} has schema version {version}; this program reads {SCHEMA_VERSION}",
            "Open it with the version that wrote it, or give a new --store.",
        )
    if mode != "read":
        connection.execute(ADDED_TABLES)


def _explain(path: Path, message: str) -> tuple[str, str]:
    if "lock" in message.lower():
        return f"{path} is in use by another process", "Wait for it to end; a store has one writer."
    if "not a valid DuckDB" in message:
        return f"{path} is not a DuckDB file", "Give the store that txtdiff-eval run or score wrote."
    return f"{path} cannot be opened: {message}", "Check the path and its permissions."


def _as_arrow(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_pylist([dict(row) for row in rows])
