"""What has to be done: the files that stand in the source against the rows of the catalog."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

from datatools.catalog import Catalog
from datatools.config import BuildSettings
from datatools.px_scale import ESTIMATOR
from datatools.scan import ImageRef, Listing
from datatools.shrink import PictureStore
from datatools.worker.reading import ReaderIdentity, Task

__all__ = ["Plan", "make_plan", "register_readers"]

_SHARES = 4  # of what is left, for each worker: it has two chunks at hand, and there should be more to come


@dataclass(frozen=True, slots=True)
class Plan:
    """The work of one build."""

    todo: pa.Table
    """Columns key, uri, size_bytes, mtime_ns, state, engines, known, n_attempts, stored_uri; in order of the
    keys."""
    n_unchanged: int
    """Pictures whose rows hold."""
    vanished: pa.Table
    """Column key: rows without a file."""

    def chunks(self, n_pictures: int, n_workers: int) -> Iterator[tuple[Task, ...]]:
        """The work in chunks for workers, smaller ones towards the end: all shall end at about the same time.

        That is guided self-scheduling (Polychronopoulos and Kuck 1987): a chunk is a share of what is left.
        """
        tasks = (_task(row) for batch in self.todo.to_batches(10_000) for row in batch.to_pylist())
        n_left = self.todo.num_rows
        while chunk := tuple(islice(tasks, max(1, min(n_pictures, n_left // (_SHARES * n_workers))))):
            n_left -= len(chunk)
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
# A failure is left alone, unless --retry names its cause or the file has changed. A picture is as good as
# changed when its stored size is not what --max-edge asks for (as datatools.shrink computes it), or its
# shrunk copy is gone.
_TODO = """
WITH wanted AS (SELECT unnest($engines) AS engine, unnest($readers) AS reader),
has AS (SELECT key, list(engine) AS engines FROM store.readings JOIN wanted USING (reader) GROUP BY key),
compared AS (
    SELECT f.*, s.status, s.cause, COALESCE(s.n_attempts, 0) AS n_attempts,
        s.key IS NOT NULL AND s.size_bytes = f.size_bytes AND s.mtime_ns = f.mtime_ns
            AND (s.stored_uri IS NULL OR s.stored_uri IN (FROM stored))
            AND COALESCE(floor(greatest(s.source_width_px, s.source_height_px) * least(1.0, greatest(
                $max_edge / greatest(s.source_width_px, s.source_height_px),
                $min_edge / least(s.source_width_px, s.source_height_px))) + 0.5)
                = greatest(s.width_px, s.height_px), true) AS same,
        has.engines AS read_by, s.stored_uri,
        $estimator IS NOT NULL AND s.stored_uri IS NULL AND s.px_estimator IS DISTINCT FROM $estimator
            AND f.key NOT IN (SELECT key FROM store.px_scales WHERE source != 'estimated') AS to_estimate
    FROM found AS f LEFT JOIN store.pictures AS s ON s.key = f.key LEFT JOIN has ON has.key = f.key)
SELECT key, uri, size_bytes, mtime_ns, n_attempts, CASE WHEN same THEN stored_uri END AS stored_uri,
    CASE WHEN status IS NULL THEN 'new' WHEN same THEN 'same' ELSE 'changed' END AS state,
    list_filter($engines, lambda e: NOT same OR read_by IS NULL OR NOT list_contains(read_by, e)) AS engines
FROM compared
WHERE NOT same OR (status = 'ok' AND (len(engines) > 0 OR to_estimate))
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

# Nor is a catalog that was moved together with its shrunk pictures.
_STORE_MOVED = """
UPDATE store.pictures AS s SET stored_uri = moved.here FROM (
    SELECT key, $root || '/' || array_to_string(string_split(stored_uri, '/')[-2:], '/') AS here
    FROM store.pictures WHERE stored_uri IS NOT NULL AND NOT starts_with(stored_uri, $root || '/')) AS moved
WHERE s.key = moved.key AND moved.here IN (FROM stored)
"""


def make_plan(catalog: Catalog, listing: Listing, readers: dict[str, int], settings: BuildSettings) -> Plan:
    """Compare the source with the catalog.

    Args:
        catalog: open for writing.
        listing: what stands in the source.
        readers: numbers of the wanted readers by name.
        settings: of this build.
    """
    names, numbers = list(readers), list(readers.values())
    wanted = {
        "engines": names,
        "readers": numbers,
        "retry_all": settings.retry == (),
        "retry": list(settings.retry or ()),
        "max_edge": float(settings.max_edge_px or sys.maxsize),
        "min_edge": float(settings.limits.min_edge_px),
        "estimator": ESTIMATOR if settings.estimate_px_scale else None,
    }
    store = PictureStore(catalog.path)
    stored = pa.table({"path": pa.array(store.paths(), pa.string())})
    with (
        catalog.given("found", _found(listing.images)),
        catalog.given("unnamed", _unnamed(listing)),
        catalog.given("stored", stored),
    ):
        catalog.execute(_MOVED)
        catalog.execute(_STORE_MOVED, {"root": str(store.root)})
        todo = catalog.arrow(_TODO, wanted)
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
    return Task(
        image,
        row["state"],
        tuple(row["engines"]),
        tuple(row["known"]),
        row["n_attempts"],
        row["stored_uri"],
    )
