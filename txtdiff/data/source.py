"""Where training pictures come from: a catalog, a packed set or a folder, filtered and ordered by DuckDB."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from datatools.catalog import open_catalog, query_catalog
from datatools.catalog.limits import known_limits
from datatools.catalog.packed import PACKED_CATALOG, PACKED_PICTURES
from datatools.decode import Limits
from datatools.errors import InputError
from datatools.interruption import interruptible
from txtdiff.data.classes import read_classes
from txtdiff.data.config import DataConfig
from txtdiff.data.crop import Box
from txtdiff.data.folder import read_folder

__all__ = ["Row", "Rows", "read_rows"]

Conditions = dict[str, str]
"""What a picture must fulfil: description -> SQL."""

_KNOWN = """
    SELECT p.key, p.uri, p.width_px, p.height_px, p.size_bytes, t.text, t.source, t.n_lines, t.n_chars,
        t.confidence, b."left", b.top, b."right", b.bottom, s.sx, s.sy, c.captions
    FROM pictures p
    LEFT JOIN transcriptions t ON t.key = p.key
    LEFT JOIN safeboxes b ON b.key = p.key
    LEFT JOIN px_scales s ON s.key = p.key
    LEFT JOIN (SELECT key, list(caption ORDER BY position) AS captions FROM captions GROUP BY key) c
        ON c.key = p.key
"""
"""Everything a catalog says of a picture, one row each; `data.where` may speak of these columns."""

_WANTED = """
    SELECT key, uri, width_px, height_px, text, "left", top, "right", bottom, greatest(sx, sy) AS px_scale,
        captions, {class_name} AS class_name
    FROM known WHERE {conditions} ORDER BY key
"""


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of one picture."""

    key: str
    uri: str
    size_px: tuple[int, int]
    """(width, height) as decoded."""
    text: str | None
    """Transcription, "" for a picture without text, None where nobody looked."""
    safebox: Box | None
    px_scale: float
    captions: tuple[str, ...]
    label: int | None = None
    """Class, for models with classes."""


class Rows:
    """The pictures of a run in a fixed order. Stays in Arrow, so that worker processes share its memory.

    Args:
        table: columns key, uri, width_px, height_px, text, left, top, right, bottom, px_scale, captions,
            class_name.
        limits: what the pictures were decoded with when they were catalogued.
        classes: class name -> number; names that are not in it have the number `unknown`.
    """

    def __init__(
        self, table: pa.Table, limits: Limits, classes: Mapping[str, int] | None = None, unknown: int = 0
    ) -> None:
        self.limits = limits
        self.classes = dict(classes or {})
        self._unknown = unknown
        self._table = table.combine_chunks()
        has_box = pc.is_valid(table["left"]).to_numpy(zero_copy_only=False)
        self._with_safebox = has_box.nonzero()[0]

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, index: int) -> Row:
        found: dict[str, Any] = self._table.slice(index, 1).to_pylist()[0]
        edges = [found[name] for name in ("left", "top", "right", "bottom")]
        return Row(
            key=found["key"],
            uri=found["uri"],
            size_px=(found["width_px"], found["height_px"]),
            text=found["text"],
            safebox=None if edges[0] is None else Box(*edges),
            px_scale=found["px_scale"] or 1.0,
            captions=tuple(found["captions"] or ()),
            label=self.classes.get(found["class_name"], self._unknown) if self.classes else None,
        )

    @property
    def texts(self) -> list[str]:
        """Every different text of the pictures that somebody transcribed."""
        return [text for text in self._table["text"].unique().to_pylist() if text is not None]

    @property
    def n_with_safebox(self) -> int:
        """How many pictures have a safebox."""
        return len(self._with_safebox)

    def lender(self, chance: float) -> Row | None:
        """A picture with a safebox, the one at `chance` (0 <= chance < 1) of all such."""
        if not len(self._with_safebox):
            return None
        return self[int(self._with_safebox[int(chance * len(self._with_safebox))])]


def read_rows(config: DataConfig, text: Literal["needed", "unused"], n_classes: int | None = None) -> Rows:
    """The pictures that `config` asks for, ordered by key.

    Args:
        config: names the catalog and the filters.
        text: "needed" leaves out pictures that nobody transcribed.
        n_classes: classes of the model; None: it has none.

    Raises:
        InputError: no source, not readable, a wrong condition or class, or no picture left; says what was
            left out.
    """
    conditions = _conditions(config, text)
    class_name = "NULL" if n_classes is None else f"CAST(({config.class_name}\n) AS VARCHAR)"
    source = _source(config)

    def query(conditions: Conditions) -> pa.Table:
        return source.query(
            _WANTED.format(class_name=class_name, conditions=" AND ".join(conditions.values()))
        )

    table = query(conditions)
    if not table.num_rows:
        raise InputError(f"no usable picture in {source.path}", _what_is_missing(query, conditions))
    if n_classes is None:
        return Rows(table, source.limits)
    classes = read_classes(config, table["class_name"], n_classes)
    return Rows(table, source.limits, classes, config.class_unknown)


class _Source(NamedTuple):
    path: Path
    query: Callable[[str], pa.Table]
    limits: Limits


def _source(config: DataConfig) -> _Source:
    """Where the pictures are, and how a question about them is answered."""
    if config.catalog is not None:
        catalog = config.catalog
        return _Source(catalog, partial(_query_catalog, catalog), _limits(catalog))
    if config.folder is None:
        raise InputError(
            "no pictures to train on", "Give a catalog (--catalog FILE) or a folder (--folder DIR)."
        )
    packed = config.folder / PACKED_CATALOG
    if not packed.is_file():
        return _Source(config.folder, partial(_query_table, read_folder(config)), Limits())
    for name in ("safeboxes", "px_scales", "captions"):
        if getattr(config, name) is not None:
            raise InputError(
                f"data.{name} has no effect: {config.folder} is a packed set, which has its own",
                "Leave it out.",
            )
    return _Source(config.folder, partial(_query_packed, config.folder), _limits(packed))


def _limits(catalog: Path) -> Limits:
    with open_catalog(catalog) as opened:
        return known_limits(opened)


def _conditions(config: DataConfig, text: Literal["needed", "unused"]) -> Conditions:
    conditions = {"readable pictures": "width_px IS NOT NULL"}
    if text == "needed":
        conditions["with a transcription"] = "text IS NOT NULL"
    if config.require_captions:
        conditions["with a caption"] = "captions IS NOT NULL"
    if config.min_file_size_bytes:
        conditions["large enough as a file"] = f"size_bytes >= {config.min_file_size_bytes}"
    if config.min_image_size_px:
        # The original's size: a stored picture may be enlarged, differently in x and y (fork_spec 2.1).
        edge = "least(width_px / greatest(1, coalesce(sx, 1)), height_px / greatest(1, coalesce(sy, 1)))"
        conditions["large enough"] = f"{edge} >= {config.min_image_size_px}"
    if config.where:
        conditions[f"where {config.where}"] = f"({config.where}\n)"
    return conditions


def _query_catalog(catalog: Path, wanted: str) -> pa.Table:
    # The user's own condition may say anything; `query_catalog` lets it read this file and nothing else.
    return query_catalog(catalog, f"WITH known AS ({_KNOWN}) {wanted}")


def _query_packed(folder: Path, wanted: str) -> pa.Table:
    """A packed set is found where it is now, not where it was made: it may have been copied elsewhere."""
    table = _query_catalog(folder / PACKED_CATALOG, wanted)
    root = folder.absolute() / PACKED_PICTURES
    uris = pa.array([str(root / key) for key in table["key"].to_pylist()], pa.string())
    return table.set_column(table.column_names.index("uri"), "uri", uris)


def _query_table(known: pa.Table, wanted: str) -> pa.Table:
    safe: dict[str, Any] = {"enable_external_access": "false", "lock_configuration": "true"}
    with duckdb.connect(config=safe) as db:
        try:
            with interruptible():
                db.register("known", known)
                return db.sql(wanted).to_arrow_table()
        except duckdb.Error as error:
            raise InputError(f"data.where or data.class_name cannot be used: {error}") from error


def _what_is_missing(query: Callable[[Conditions], pa.Table], conditions: Conditions) -> str:
    """How many pictures remain as the conditions are applied one after the other."""
    counts, applied = [], {}
    for what, sql in conditions.items():
        applied[what] = sql
        counts.append(f"{query(applied).num_rows} {what}")
    return "Left after each condition: " + ", ".join(counts) + "."
