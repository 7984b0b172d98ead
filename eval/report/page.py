"""The whole board as one HTML file: no server, no network, nothing but the file."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from eval.leaderboard.board import Board
from eval.report.page_data import board_data, samples_data
from eval.report.thumbnails import make_thumbnails

__all__ = ["render_page"]

WEB = Path(__file__).parent / "web"

# In this order: every file may use what stands in the files before it.
SCRIPTS = (
    "dom.js",
    "data.js",
    "state.js",
    "scores.js",
    "table.js",
    "tradeoff.js",
    "lengths.js",
    "heatmaps.js",
    "readings.js",
    "wall.js",
    "compare.js",
    "kinds.js",
    "readers.js",
    "methods.js",
    "main.js",
)
STYLES = ("base.css", "table.css", "charts.css", "samples.css", "methods.css", "screens.css")


def render_page(board: Board, max_bytes: int = 20_000_000) -> str:
    """One self-contained page: table, charts, samples, comparison, provenance, methods.

    The same board gives the same bytes. Texts of strangers travel as JSON in two data blocks and reach the
    page as text nodes only; a content security policy admits this page's own script and style by hash,
    pictures as data, and nothing else.

    Args:
        max_bytes: how large the page may be; pictures are thinned out evenly until it fits.
    """
    script = _one_script()
    style = _joined(STYLES)
    numbers, samples = _as_json(board_data(board)), samples_data(board)
    # What everything else leaves is for pictures; the rest of the template is far below 50 kB.
    taken = (numbers, _as_json(samples), script, style)
    room = max_bytes - sum(len(text.encode()) for text in taken) - 50_000
    samples["thumbnails"] = make_thumbnails(board.samples, max(0, room))
    environment = Environment(loader=FileSystemLoader(WEB), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("page.html.j2").render(
        suite=board.suite,
        policy=_policy(script, style),
        style=Markup(style),
        script=Markup(script),
        data=Markup(numbers),
        samples=Markup(_as_json(samples)),
    )


def _one_script() -> str:
    """All script files in one strict function scope: nothing of the page is a global."""
    return f'(() => {{\n"use strict";\n{_joined(SCRIPTS)}}})();\n'


def _joined(names: Sequence[str]) -> str:
    return "\n".join((WEB / name).read_text(encoding="utf-8") for name in names)


def _policy(script: str, style: str) -> str:
    """Content security policy: this script and this style, known by hash, and pictures held in the page."""
    return (
        f"default-src 'none'; script-src '{_source_hash(script)}'; style-src '{_source_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _source_hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _as_json(value: Any) -> str:
    """JSON that can stand inside a script element: no "<" to end it, and no address to follow."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # Lone surrogates cannot be written as UTF-8 at all; line separators end a line in older readers.
    text = text.encode("utf-8", "replace").decode("utf-8")
    for plain, escaped in (
        ("<", "\\u003c"),
        ("://", ":\\/\\/"),
        ("\u2028", "\\u2028"),
        ("\u2029", "\\u2029"),
    ):
        text = text.replace(plain, escaped)
    return text
