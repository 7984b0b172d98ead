"""Outcomes -> rows: one transaction per batch, and the transcriptions that follow from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from datatools.bookkeeping.speak import SpeakingRule, speak
from datatools.catalog import Catalog
from datatools.catalog.stored import lines_from, lines_to
from datatools.decode import Cause
from datatools.ocr import TextLine
from datatools.scan import ImageRef
from datatools.shrink import Stored
from datatools.worker.reading import Outcome

__all__ = ["Recorder"]

_PICTURE_TABLES = (
    *("pictures", "readings", "spoken", "texts", "px_scales", "captions", "boxes", "caption_files"),
)
_FACTS = (
    *("sha256", "phash", "width_px", "height_px", "source_width_px", "source_height_px"),
    *("stored_uri", "stored_bytes", "stored_sha256", "px_estimator"),
)
"""Columns of a picture that a further reader leaves as they are."""


@dataclass(frozen=True, slots=True)
class Recorder:
    """Writes what a build finds.

    Attributes:
        catalog: open for writing.
        build: number of this build.
        readers: numbers of the readers by name.
        rule: who speaks.
    """

    catalog: Catalog
    build: int
    readers: dict[str, int]
    rule: SpeakingRule

    def commit(self, outcomes: Sequence[Outcome]) -> None:
        """Put a batch of outcomes into the catalog, all or nothing.

        Rows of the same pictures are replaced, whatever they were before: a commit that was interrupted when
        it had just been made can be made again.
        """
        with self.catalog.transaction():
            outcomes = [*self._resolve_reused(outcomes)]
            self._replace_pictures(outcomes)
            self._replace_readings(outcomes)
            self._replace_px_scales(outcomes)
            self._speak([outcome.task.image.key for outcome in outcomes])

    def commit_refused(self, refused: Sequence[tuple[ImageRef, Cause, str]]) -> None:
        """Rows for files that never became a task; rows of the same key are replaced."""
        rows = [self._picture_row(image, cause=cause, detail=detail) for image, cause, detail in refused]
        with self.catalog.transaction():
            self.catalog.delete("pictures", _keys([row["key"] for row in rows]))
            self.catalog.append("pictures", self.catalog.table("pictures", rows))

    def respeak(self, keys: Sequence[str]) -> None:
        """Derive the transcriptions of `keys` again: their .txt or the rule has changed."""
        with self.catalog.transaction():
            self._speak(keys)

    def remove(self, keys: pa.Table) -> None:
        """Forget pictures whose files are gone."""
        with self.catalog.transaction():
            for table in _PICTURE_TABLES:
                self.catalog.delete(table, keys)

    def _resolve_reused(self, outcomes: Sequence[Outcome]) -> Iterable[Outcome]:
        """Fill in the facts and lines of pictures whose bytes stand under another key."""
        digests = sorted({outcome.sha256 for outcome in outcomes if outcome.reused and outcome.sha256})
        if not digests:
            return outcomes
        found = self.catalog.arrow(
            f"""SELECT {", ".join(_FACTS)}, engine, lines,
                CASE WHEN x.key IS NOT NULL THEN [sx, sy] END AS px_scale
            FROM store.pictures JOIN store.readings USING (key) JOIN store.readers USING (reader)
                LEFT JOIN (FROM store.px_scales WHERE source = 'estimated') AS x USING (key)
            WHERE sha256 IN (SELECT unnest($digests)) AND status = 'ok' AND list_contains($readers, reader)
            QUALIFY row_number() OVER (PARTITION BY sha256, reader ORDER BY key) = 1""",
            {"digests": digests, "readers": list(self.readers.values())},
        ).to_pylist()
        by_digest: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in found:
            by_digest[row["sha256"]].append(row)
        return [_filled(outcome, by_digest[outcome.sha256 or ""]) for outcome in outcomes]

    def _replace_pictures(self, outcomes: Sequence[Outcome]) -> None:
        rows = [self._outcome_row(outcome) for outcome in outcomes]
        table = self._keep_facts(self.catalog.table("pictures", rows), outcomes)
        self.catalog.delete("pictures", _keys([row["key"] for row in rows]))
        self.catalog.append("pictures", table)

    def _keep_facts(self, table: pa.Table, outcomes: Sequence[Outcome]) -> pa.Table:
        """A further reader that fails does not make us forget what the picture is."""
        same = _keys([o.task.image.key for o in outcomes if o.task.state == "same"])
        merged = ", ".join(f"COALESCE(new.{name}, old.{name}) AS {name}" for name in _FACTS)
        with self.catalog.given("given_new", table), self.catalog.given("given_same", same):
            return self.catalog.arrow(
                f"""SELECT new.* REPLACE ({merged}) FROM given_new AS new LEFT JOIN (
                    FROM store.pictures WHERE key IN (SELECT key FROM given_same)) AS old USING (key)"""
            )

    def _replace_readings(self, outcomes: Sequence[Outcome]) -> None:
        self.catalog.delete("readings", _keys([o.task.image.key for o in outcomes if o.task.state != "same"]))
        again = [(o.task.image.key, name) for o in outcomes if o.task.state == "same" for name in o.readings]
        if again:
            self._delete_readings(again)
        rows = [
            {
                "key": o.task.image.key,
                "reader": self.readers[name],
                "build": self.build,
                "lines": lines_to(lines),
            }
            for o in outcomes
            for name, lines in o.readings.items()
        ]
        self.catalog.append("readings", self.catalog.table("readings", rows))

    def _replace_px_scales(self, outcomes: Sequence[Outcome]) -> None:
        """Estimates; a scale that was given stands before them."""
        looked = [o for o in outcomes if o.px_estimator is not None or o.task.state != "same"]
        keys = [o.task.image.key for o in looked]
        self.catalog.delete(
            "px_scales",
            pa.table({"key": pa.array(keys, pa.string())}).append_column(
                "source", pa.array(["estimated"] * len(keys), pa.string())
            ),
        )
        rows = [
            {"key": o.task.image.key, "sx": o.px_scale[0], "sy": o.px_scale[1], "source": "estimated"}
            for o in looked
            if o.px_scale is not None
        ]
        new = self.catalog.table("px_scales", rows)
        with self.catalog.given("given_scales", new):
            new = self.catalog.arrow("FROM given_scales WHERE key NOT IN (SELECT key FROM store.px_scales)")
        self.catalog.append("px_scales", new)

    def _delete_readings(self, keys_and_engines: Sequence[tuple[str, str]]) -> None:
        """Delete what any version of the named readers said of the pictures."""
        keys, engines = zip(*keys_and_engines, strict=True)
        with self.catalog.given("given_again", pa.table({"key": keys, "engine": engines})):
            readers = self.catalog.arrow(
                "SELECT key, reader FROM given_again JOIN store.readers USING (engine)"
            )
        self.catalog.delete("readings", readers)

    def _speak(self, keys: Sequence[str]) -> None:
        rows = self.derive(keys)
        self.catalog.delete("spoken", _keys(keys))
        self.catalog.append("spoken", self.catalog.table("spoken", rows))

    def derive(self, keys: Sequence[str]) -> list[dict[str, Any]]:
        """The rows of `store.spoken` that follow from readings and .txt files; failed pictures have none."""
        usable = self.catalog.arrow(
            """SELECT key FROM store.pictures
            WHERE status = 'ok' AND key IN (SELECT unnest($keys::VARCHAR[]))""",
            {"keys": list(keys)},
        )
        with self.catalog.given("given_speaking", usable):
            readings = self.catalog.arrow(
                """SELECT key, engine, lines FROM store.readings JOIN store.readers USING (reader)
                WHERE key IN (SELECT key FROM given_speaking)"""
            ).to_pylist()
            texts = self.catalog.arrow(
                """SELECT key, text FROM store.texts
                WHERE origin = 'given' AND key IN (SELECT key FROM given_speaking)"""
            ).to_pylist()
        given = {row["key"]: row["text"] for row in texts}
        lines: dict[str, dict[str, list[TextLine]]] = defaultdict(dict)
        for row in readings:
            lines[row["key"]][row["engine"]] = lines_from(row["lines"])
        spoken = (speak(key, given.get(key), lines[key], self.rule) for key in usable["key"].to_pylist())
        return [row for row in spoken if row]

    def _outcome_row(self, outcome: Outcome) -> dict[str, Any]:
        facts: dict[str, Any] = {name: getattr(outcome, name) for name in _FACTS if hasattr(outcome, name)}
        if outcome.stored is not None:
            facts["stored_uri"] = outcome.stored.uri
            facts["stored_bytes"] = outcome.stored.size_bytes
            facts["stored_sha256"] = outcome.stored.sha256
        row = self._picture_row(outcome.task.image, cause=outcome.cause, detail=outcome.detail)
        return row | facts | {"n_attempts": outcome.task.n_attempts + 1 if outcome.cause else 0}

    def _picture_row(self, image: ImageRef, *, cause: Cause | None, detail: str) -> dict[str, Any]:
        return {
            "key": image.key,
            "uri": image.uri,
            "size_bytes": image.size_bytes,
            "mtime_ns": image.mtime_ns,
            "status": "failed" if cause else "ok",
            "cause": cause,
            "detail": detail or None,
            "n_attempts": 1 if cause else 0,
            "build": self.build,
        }


def _keys(keys: Sequence[str]) -> pa.Table:
    return pa.table({"key": pa.array(keys, pa.string())})


def _filled(outcome: Outcome, rows: Sequence[dict[str, Any]]) -> Outcome:
    if not outcome.reused:
        return outcome
    first = rows[0]
    stored = (first["stored_uri"], first["stored_bytes"], first["stored_sha256"])
    return replace(
        outcome,
        phash=first["phash"],
        width_px=first["width_px"],
        height_px=first["height_px"],
        source_width_px=first["source_width_px"],
        source_height_px=first["source_height_px"],
        stored=None if first["stored_uri"] is None else Stored(*stored),
        px_estimator=first["px_estimator"],
        px_scale=None if first["px_scale"] is None else tuple(first["px_scale"]),
        readings={
            row["engine"]: lines_from(row["lines"]) for row in rows if row["engine"] in outcome.task.engines
        },
    )
