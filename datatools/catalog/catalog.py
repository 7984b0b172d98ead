"""The catalog: one DuckDB file with documented views, one writer, Arrow in and out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import duckdb

from datatools.catalog.schema import SCHEMA_VERSION, TABLES, VIEWS
from datatools.catalog.upgrade import STEPS, exclusive, upgrade_catalog
from datatools.errors import InputError
from datatools.interruption import hold_interruptions, interruptible

if TYPE_CHECKING:  # both take long to import: pandas for `frame` alone, Arrow where rows are there
    import pandas as pd
    import pyarrow as pa

__all__ = ["Catalog", "open_catalog", "query_catalog"]

_VERSION = "SELECT value FROM store.info WHERE name = 'schema_version'"


class Catalog:
    """An open catalog. Reading: `frame` and `arrow`. Writing is for one process, in transactions.

    Args:
        path: the DuckDB file.
        connection: an open connection to it.
    """

    def __init__(self, path: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self.path = path
        self._db = connection

    @interruptible()
    def frame(self, sql: str, params: Sequence[Any] | dict[str, Any] = ()) -> pd.DataFrame:
        """The result of a query as a pandas frame. Values go in `params`, never into the text."""
        frame: pd.DataFrame = self._db.sql(sql, params=params).df()
        return frame

    @interruptible()
    def arrow(self, sql: str, params: Sequence[Any] | dict[str, Any] = ()) -> pa.Table:
        """The result of a query as an Arrow table."""
        return self._db.sql(sql, params=params).to_arrow_table()

    def batches(self, sql: str, n_rows: int = 10_000) -> Iterator[pa.RecordBatch]:
        """The result of a query piece by piece, on a cursor of its own: memory stays flat."""
        with interruptible(), self._db.cursor() as cursor:
            yield from cursor.sql(sql).to_arrow_reader(n_rows)

    @interruptible()
    def value(self, sql: str, params: Sequence[Any] | dict[str, Any] = ()) -> Any:
        """The first column of the first row, None without rows."""
        rows = self._db.execute(sql, params).fetchall()
        return rows[0][0] if rows else None

    @hold_interruptions()
    def execute(self, sql: str, params: Sequence[Any] | dict[str, Any] = ()) -> None:
        """Run a statement for its effect."""
        self._db.execute(sql, params)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block is in the file, or nothing of it; Ctrl-C waits for its end."""
        with hold_interruptions():
            try:
                with interruptible():
                    self._db.begin()
                    yield
                    self._db.commit()
            except (duckdb.IOException, duckdb.FatalException, duckdb.TransactionException) as error:
                # A full disk, a lost mount; commit() says TransactionException. One writer has no conflicts.
                self._rollback()
                raise InputError(
                    f"{self.path} cannot be written: {error}",
                    "What was committed before is kept: make room and run the same command again.",
                ) from error
            except BaseException:
                self._rollback()
                raise

    def _rollback(self) -> None:
        # No transaction: commit() had done its work. Fatal: DuckDB has closed the file.
        with suppress(duckdb.TransactionException, duckdb.FatalException):
            self._db.rollback()

    @contextmanager
    def given(self, name: str, rows: pa.Table) -> Iterator[None]:
        """`rows` can be queried as `name` inside the block."""
        with hold_interruptions():
            self._db.register(name, rows)
        try:
            yield
        finally:
            # In a transaction that failed nothing works but rolling back, which forgets `name` too.
            with suppress(duckdb.TransactionException, duckdb.FatalException), hold_interruptions():
                self._db.unregister(name)

    def table(self, name: str, rows: Iterable[dict[str, Any]]) -> pa.Table:
        """`rows` as an Arrow table with the columns and types of the stored table `name`."""
        import pyarrow as pa

        schema = self.arrow(f"SELECT * FROM store.{name} LIMIT 0").schema
        return pa.Table.from_pylist(list(rows), schema=schema)

    @hold_interruptions()
    def append(self, name: str, rows: pa.Table) -> None:
        """Add `rows` to the stored table `name`."""
        with self.given("given_rows", rows):
            self._db.execute(f"INSERT INTO store.{name} BY NAME SELECT * FROM given_rows")

    @hold_interruptions()
    def delete(self, name: str, keys: pa.Table) -> None:
        """Delete from the stored table `name` what equals a row of `keys` in all of its columns."""
        match = " AND ".join(f"stored.{column} = given_keys.{column}" for column in keys.column_names)
        with self.given("given_keys", keys):
            self._db.execute(f"DELETE FROM store.{name} AS stored USING given_keys WHERE {match}")

    def info(self, name: str) -> str | None:
        """A remembered fact about the catalog."""
        found = self.value("SELECT value FROM store.info WHERE name = ?", [name])
        return None if found is None else str(found)

    @hold_interruptions()
    def set_info(self, name: str, value: str) -> None:
        """Remember a fact about the catalog."""
        self._db.execute("DELETE FROM store.info WHERE name = ?", [name])
        self._db.execute("INSERT INTO store.info VALUES (?, ?)", [name, value])

    def close(self) -> None:
        """Close the file; afterwards other processes may write it."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_catalog(path: str | Path, mode: Literal["read", "write"] = "read") -> Catalog:
    """Open a catalog; `write` creates it where there is none.

    A catalog of an earlier schema version is upgraded first, in either mode: into a new file beside, which
    then takes its name; the old file is kept (datatools.catalog.upgrade).

    Raises:
        InputError: no such file, not a catalog, of a later schema version, in use by another process, or of
            an earlier version in a folder that cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a catalog", "Name a file in it, as catalog.duckdb.")
    if mode == "write" and not path.exists():
        _create(path)
    if not path.is_file():
        raise InputError(f"there is no catalog {path}", "Make one with `datatools build-catalog`.")
    catalog = _opened(path, mode)
    if catalog.value(_VERSION) == str(SCHEMA_VERSION):
        return catalog
    catalog.close()
    upgrade_catalog(path)
    return _opened(path, mode)


def query_catalog(path: str | Path, sql: str) -> pa.Table:
    """Run a user's own query: read-only, no files, no network, no extensions, no change of settings.

    Raises:
        InputError: the catalog cannot be opened, or the query is refused or wrong.
    """
    open_catalog(path).close()
    safe: dict[str, Any] = {"enable_external_access": "false", "lock_configuration": "true"}
    try:
        with interruptible(), duckdb.connect(str(path), read_only=True, config=safe) as db:
            found = db.sql(sql)
            if found is None:  # nothing but blanks or remarks, or a statement without rows
                raise InputError("the query asks for no rows", "Write a SELECT.")
            return found.to_arrow_table()
    except duckdb.Error as error:
        raise InputError(f"the query cannot be run: {error}") from error


@interruptible()
def _create(path: Path) -> None:
    """Lay tables and views in a new file and give it its name last: a kill leaves no half catalog."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the folder {path.parent} cannot be made: {error.strerror}",
            "Choose another place for the catalog.",
        ) from error
    draft = path.with_name(f".{path.name}.new")
    with exclusive(draft.with_suffix(".lock")):
        for leftover in (draft, draft.with_name(draft.name + ".wal")):
            leftover.unlink(missing_ok=True)
        if path.exists():  # somebody else was quicker
            return
        with duckdb.connect(str(draft)) as db:
            db.execute(TABLES)
            for name, sql in VIEWS.items():
                db.execute(f"CREATE VIEW {name} AS {sql}")
            db.execute("INSERT INTO store.info VALUES ('schema_version', ?)", [str(SCHEMA_VERSION)])
        draft.rename(path)


@interruptible()
def _connect(path: Path, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    try:
        db = duckdb.connect(str(path), read_only=read_only)
    except duckdb.Error as error:
        if "conflicting lock" in str(error).lower():
            raise InputError(f"{path} is in use by another process", "Wait for it to end.") from error
        raise InputError(
            f"{path} cannot be opened as a catalog: {error}", "Is it the file that build-catalog wrote?"
        ) from error
    # Progress is drawn by us; row order of a bulk load is nobody's promise here.
    db.execute("SET enable_progress_bar = false")
    return db


def _opened(path: Path, mode: Literal["read", "write"]) -> Catalog:
    """A catalog of this program's version, or of one that can be upgraded to it."""
    catalog = Catalog(path, _connect(path, read_only=mode == "read"))
    try:
        _check_version(catalog)
    except BaseException:
        catalog.close()
        raise
    return catalog


def _check_version(catalog: Catalog) -> None:
    try:
        found = catalog.value(_VERSION)
    except duckdb.Error as error:
        raise InputError(
            f"{catalog.path} is a DuckDB file, but not a catalog", "Give the file that build-catalog wrote."
        ) from error
    if found not in {str(version) for version in (*STEPS, SCHEMA_VERSION)}:
        raise InputError(
            f"{catalog.path} has schema version {found}, this program knows versions up to {SCHEMA_VERSION}",
            "Use the newer program that wrote it, or build the catalog again into a new file.",
        )
