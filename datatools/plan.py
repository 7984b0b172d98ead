"""What has to be done: the files that stand in the source against the rows of the catalog."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

from datatools.catalog import Catalog
from datatools.config import BuildSettings
from datatools.scan import ImageRef, Listing
from datatools.worker import ReaderIdentity, Task

__all__ = ["Plan", "make_plan", "register_readers"]


@dataclass(frozen=True, slots=True)
class Plan:
    """The work of one build."""

    todo: pa.Table
    """Columns key, uri, size_bytes, mtime_ns, state, engines, known, n_attempts; in order of the keys."""
    n_unchanged: int
    """Pictures whose rows hold."""
    vanished: pa.Table
    """Column key: rows without a file."""

    def chunks(self, n_pictures: int) -> Iterator[tuple[Task, ...]]:
        """The work in chunks for workers."""
        tasks = (_task(row) for batch in self.todo.to_batches(10_000) for row in batch.to_pylist())
        while chunk := tuple(islice(tasks, n_pictures)):
            yield chunk


def register_readers(catalog: Catalog, identities: Sequence[ReaderIdentity]) -> dict[str, int]:
    """The number of each reader in the catalog, by name; a new version or setting is a new reader."""
    known = catalog.arrow("SELECT * FROM store.readers").to_pylist()
    numbers = {}
    for identity in identities:
        row = {name: getattr(identity, name) for name in ReaderIdentity.__slots__}
        same = [old["reader"] for old in known if all(old[name] == value for name, value in row.items())]
        number = same[0] if same else max((old["reader"] for old in known), default=0) + 1
        if not same:
            known.append(row | {"reader": number})
            catalog.append("readers", catalog.table("readers", [known[-1]]))
        numbers[identity.engine] = number
    return numbers


# A picture is unchanged when its size and time are; then only readers that have not read it are asked.
# A failure is left alone, unless --retry names its cause or the file has changed.
_TODO = """
WITH wanted AS (SELECT unnest($engines) AS engine, unnest($readers) AS reader),
has AS (SELECT key, list(engine) AS engines FROM store.readings JOIN wanted USING (reader) GROUP BY key),
compared AS (
    SELECT f.*, s.status, s.cause, COALESCE(s.n_attempts, 0) AS n_attempts,
        s.key IS NOT NULL AND s.size_bytes = f.size_bytes AND s.mtime_ns = f.mtime_ns AS same,
        has.engines AS read_by
    FROM found AS f LEFT JOIN store.pictures AS s ON s.key = f.key LEFT JOIN has ON has.key = f.key)
SELECT key, uri, size_bytes, mtime_ns, n_attempts,
    CASE WHEN status IS NULL THEN 'new' WHEN same THEN 'same' ELSE 'changed' END AS state,
    list_filter($engines, lambda e: NOT same OR read_by IS NULL OR NOT list_contains(read_by, e)) AS engines
FROM compared
WHERE NOT same OR (status = 'ok' AND len(engines) > 0)
    OR (status = 'failed' AND ($retry_all OR list_contains($retry, cause)))
ORDER BY key
"""

# A row that is itself to be replaced offers nothing: it may be gone when its reading would be taken over.
_KNOWN = """
SELECT todo.*, COALESCE(k.known, []) AS known FROM todo LEFT JOIN (
    SELECT size_bytes, list(DISTINCT sha256 ORDER BY sha256) AS known FROM store.pictures
    WHERE status = 'ok' AND size_bytes IN (SELECT size_bytes FROM todo) AND key NOT IN (SELECT key FROM todo)
        AND key IN (SELECT key FROM store.readings WHERE list_contains($readers, reader)
                    GROUP BY key HAVING count(*) = len($readers))
    GROUP BY size_bytes) AS k USING (size_bytes)
ORDER BY key
"""


_VANISHED = """
SELECT key FROM store.pictures WHERE key NOT IN (SELECT key FROM found UNION ALL SELECT key FROM unnamed)
"""

# A source that was moved as a whole is no reason to read anything again.
_MOVED = """
UPDATE store.pictures AS s SET uri = found.uri FROM found WHERE s.key = found.key AND s.uri != found.uri
"""


def make_plan(catalog: Catalog, listing: Listing, readers: dict[str, int], settings: BuildSettings) -> Plan:
    """Compare the source with the catalog.

    Args:
        catalog: open for writing.
        listing: what stands in the source.
        readers: numbers of the wanted readers by name.
        settings: of this build.
    """
    retry = {"retry_all": settings.retry == (), "retry": list(settings.retry or ())}
    names, numbers = list(readers), list(readers.values())
    with catalog.given("found", _found(listing.images)), catalog.given("unnamed", _unnamed(listing)):
        catalog.execute(_MOVED)
        todo = catalog.arrow(_TODO, {"engines": names, "readers": numbers, **retry})
        vanished = catalog.arrow(_VANISHED)
    with catalog.given("todo", todo):
        todo = catalog.arrow(_KNOWN, {"readers": numbers})
    return Plan(todo, len(listing.images) - todo.num_rows, vanished)


def _found(images: Sequence[ImageRef]) -> pa.Table:
    columns: dict[str, Any] = {
        "key": pa.array([image.key for image in images], pa.string()),
        "uri": pa.array([image.uri for image in images], pa.string()),
        "size_bytes": pa.array([image.size_bytes for image in images], pa.int64()),
        "mtime_ns": pa.array([image.mtime_ns for image in images], pa.int64()),
    }
    return pa.table(columns)


def _unnamed(listing: Listing) -> pa.Table:
    return pa.table({"key": pa.array([image.key for image, _ in listing.unnamed], pa.string())})


def _task(row: dict[str, Any]) -> Task:
    image = ImageRef(row["key"], row["uri"], row["size_bytes"], row["mtime_ns"])
    return Task(image, row["state"], tuple(row["engines"]), tuple(row["known"]), row["n_attempts"])
