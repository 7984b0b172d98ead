"""Catalog -> one HTML file that needs nothing else, neither files nor network nor a server.

Everything a stranger could have written (texts, captions, file names) goes into the page as JSON with "<"
escaped and reaches the document through text nodes only; a content security policy forbids everything but
our own inline script and style and pictures in data: form.
"""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa
from PIL import Image

from datatools.atomic import write_text_atomic
from datatools.catalog import Catalog
from datatools.catalog.limits import known_limits
from datatools.catalog.records import Record, count_usable, read_records
from datatools.catalog.stored import lines_from
from datatools.console import progress
from datatools.decode import Limits, Rejection, decode
from datatools.files.sources import fetch

__all__ = ["GalleryReport", "write_gallery"]

_MAX_FAILURES = 2000


@dataclass(frozen=True, slots=True)
class GalleryReport:
    """What is on the page."""

    n_pictures: int
    n_usable: int
    """Pictures in the catalog that could be shown."""
    n_failures: int


def write_gallery(catalog: Catalog, out: Path, *, limit: int = 500, thumbnail_px: int = 256) -> GalleryReport:
    """Write the page.

    Args:
        catalog: an open catalog.
        out: the HTML file.
        limit: show at most this many pictures, drawn by a hash of their keys: an even, repeatable sample.
        thumbnail_px: longest edge of the pictures on the page; smaller ones stay as they are.
    """
    chosen = list(read_records(catalog, drop_duplicates=False, n_drawn=limit))
    limits = known_limits(catalog)
    lines = _lines(catalog, [record.key for record in chosen])
    with progress("drawing thumbnails", len(chosen)) as advance:
        cards = []
        for record in chosen:
            cards.append(_card(record, lines.get(record.key, []), _thumbnail(record, limits, thumbnail_px)))
            advance()
    failures = catalog.arrow(
        "SELECT key, cause, detail FROM failures ORDER BY cause, key LIMIT ?", [_MAX_FAILURES]
    ).to_pylist()
    n_failures = int(catalog.value("SELECT count(*) FROM failures"))
    report = GalleryReport(len(cards), count_usable(catalog), n_failures)
    data = {"pictures": cards, "failures": failures, "n_usable": report.n_usable, "n_failures": n_failures}
    write_text_atomic(out, _render(catalog.path.name, data, report))
    return report


def _lines(catalog: Catalog, keys: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Lines of all readers by key."""
    with catalog.given("given_shown", pa.table({"key": pa.array(keys, pa.string())})):
        rows = catalog.arrow(
            """SELECT key, engine, lines FROM store.readings JOIN store.readers USING (reader)
            WHERE key IN (SELECT key FROM given_shown) ORDER BY key, engine"""
        ).to_pylist()
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        for line in lines_from(row["lines"]):
            polygon = [[round(x, 1), round(y, 1)] for x, y in line.polygon]
            entry = {"engine": row["engine"], "text": line.text, "confidence": round(line.confidence, 3)}
            found.setdefault(row["key"], []).append({**entry, "polygon": polygon})
    return found


def _card(record: Record, lines: list[dict[str, Any]], thumbnail: str | None) -> dict[str, Any]:
    facts = record.facts()
    del facts["sha256"]
    return facts | {"lines": lines, "thumbnail": thumbnail}


def _thumbnail(record: Record, limits: Limits, edge_px: int) -> str | None:
    try:
        image = Image.fromarray(decode(fetch(record.uri), limits))
    except (OSError, Rejection):  # gone or changed since it was catalogued: the rest can still be shown
        return None
    image.thumbnail((edge_px, edge_px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _render(name: str, data: dict[str, Any], report: GalleryReport) -> str:
    room = files(__package__)
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        (room / "page.html.j2").read_text("utf-8")
    )
    # "<" never appears as itself: no text can end the script element (HTML standard, 4.12.1.3).
    encoded = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return template.render(
        name=name,
        report=report,
        data=encoded,
        script=(room / "gallery.js").read_text("utf-8"),
        style=(room / "gallery.css").read_text("utf-8"),
    )
