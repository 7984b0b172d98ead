"""A human audit: a blind sheet of pictures to type what one reads, and what it says of the reader."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from datatools.atomic import write_bytes_atomic, write_text_atomic
from datatools.bounded_files import read_text
from datatools.errors import InputError
from eval.reading.agreement import cohen_kappa
from eval.statistics import wilson
from eval.store import Store
from eval.text_metrics.normalisers import Normaliser, flat

__all__ = ["N_AUDITED", "audit_lines", "import_audit", "write_audit_sheet"]

N_AUDITED = 100

_FIELDS = ("picture", "text", "no_text")
_MAX_CSV_BYTES = 16 * 2**20

_PICTURES = """
    SELECT DISTINCT s.sha256 FROM samples s JOIN settings USING (setting_id)
    JOIN prompts p ON p.suite_id = settings.suite_id AND p.prompt_id = s.prompt_id
    WHERE s.status = 'done' AND trim(p.txt) <> '' AND settings.spec->>'$.generator' <> 'typeset'
"""

_JUDGED = """
    SELECT DISTINCT r.name, t.protocol_id, pr.spec->>'$.normaliser', pr.spec->>'$.mode',
           s.sha256, p.txt, t.reading, a.text
    FROM audits a JOIN samples s USING (sha256)
    JOIN text_scores t USING (setting_id, prompt_id, seed)
    JOIN settings USING (setting_id)
    JOIN prompts p ON p.suite_id = settings.suite_id AND p.prompt_id = s.prompt_id
    JOIN protocols pr ON pr.protocol_id = t.protocol_id JOIN readers r ON r.reader_id = pr.reader_id
    WHERE a.auditor = ? AND t.reading IS NOT NULL AND t.n_target > 0 ORDER BY ALL
"""


def write_audit_sheet(store: Store, folder: Path, n: int = N_AUDITED) -> int:
    """Write audit.html and audit.csv: pictures alone, in an order that says nothing; how many there are.

    The choice depends on the pictures' content alone, so that the same store gives the same sheet.

    Raises:
        InputError: the store holds no picture that was asked for text.
    """
    found = sorted(
        (sha256 for (sha256,) in store.rows(_PICTURES) if store.has_picture(sha256)),
        key=lambda sha256: hashlib.sha256(f"audit {sha256}".encode()).digest(),
    )[:n]
    if not found:
        raise InputError(f"{store.path} holds no pictures with text", "txtdiff-eval run or score first.")
    folder.mkdir(parents=True, exist_ok=True)
    rows = io.StringIO()
    writer = csv.DictWriter(rows, _FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({"picture": sha256, "text": "", "no_text": ""} for sha256 in found)
    write_text_atomic(folder / "audit.csv", rows.getvalue())
    pictures = [
        (sha256, base64.b64encode(store.picture_path(sha256).read_bytes()).decode()) for sha256 in found
    ]
    environment = Environment(loader=PackageLoader("eval.calibration", "audit_page"), autoescape=True)
    page = environment.get_template("audit.html.j2").render(
        pictures=pictures, script=Markup(_part("audit.js")), style=Markup(_part("audit.css"))
    )
    write_bytes_atomic(folder / "audit.html", page.encode())
    return len(found)


def import_audit(store: Store, path: Path, auditor: str) -> int:
    """Keep the answers of a filled sheet; how many there are.

    A row with neither a text nor a mark under `no_text` is not answered and left out.

    Raises:
        InputError: no such file, another table, or a picture that the store does not hold.
    """
    known = {sha256 for (sha256,) in store.rows(_PICTURES)}
    answers = []
    for number, row in enumerate(_rows(path), 2):
        picture, text, blank = ((row.get(field) or "").strip() for field in _FIELDS)
        if picture not in known:
            raise InputError(f"{path} line {number}: the store has no picture '{picture[:70]}'")
        if text or blank:
            answers.append({"sha256": picture, "auditor": auditor, "text": text})
    if not answers:
        raise InputError(f"{path} holds no answers", "Type into the column 'text', or mark 'no_text'.")
    store.write("audits", answers)
    return len(answers)


def audit_lines(store: Store, auditor: str) -> Iterator[str]:
    """What an audit says of each reader: kappa of exact match, and how often it is wrong, with intervals."""
    groups: dict[tuple[str, str, str, Normaliser], list[tuple[bool, bool]]] = {}
    for name, protocol_id, normaliser, mode, _, txt, reading, text in store.rows(_JUDGED, [auditor]):
        target = flat(txt, "ci")
        pair = (flat(text, "ci") == target, flat(reading, "ci") == target)
        groups.setdefault((name, protocol_id, mode, normaliser), []).append(pair)
    if not groups:
        yield f"no reader has read what {auditor} did"
    for (name, _, mode, normaliser), pairs in groups.items():
        human, reader = (np.array(side, dtype=bool) for side in zip(*pairs, strict=True))
        cells = (human & reader, human & ~reader, ~human & reader, ~human & ~reader)
        both, missed, invented, neither = (np.array([cell.sum()], dtype=np.float64) for cell in cells)
        kappa = float(cohen_kappa(both, missed, invented, neither)[0])
        told = "undefined" if np.isnan(kappa) else f"{kappa:.2f}"
        yield (
            f"{name} {mode} {normaliser}: {len(pairs)} pictures judged by {auditor}, kappa {told}, "
            f"false negatives {_share(int(missed[0]), int(human.sum()))}, "
            f"false positives {_share(int(invented[0]), int((~human).sum()))}"
        )


def _share(n_wrong: int, n: int) -> str:
    if not n:
        return "none to judge"
    low, high = wilson(n_wrong, n)
    return f"{n_wrong} of {n} ({100 * n_wrong / n:.1f} % [{100 * low:.1f} {100 * high:.1f}])"


def _rows(path: Path) -> list[dict[str, str]]:
    text = read_text(path, "CSV", _MAX_CSV_BYTES)
    try:
        table = csv.DictReader(io.StringIO(text, newline=""))
        rows = list(table)
    except csv.Error as error:
        raise InputError(f"{path} is no CSV file: {error}") from error
    if not set(_FIELDS) <= set(table.fieldnames or ()):
        raise InputError(f"{path} has not the columns {', '.join(_FIELDS)}", "Give a filled audit.csv.")
    return rows


def _part(name: str) -> str:
    return (Path(__file__).parent / "audit_page" / name).read_text(encoding="utf-8")
