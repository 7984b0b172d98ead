"""Stored readings -> counts per picture. Nothing is read again: another normaliser costs seconds."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pyarrow as pa

from datatools.ocr import TextLine
from datatools.transcript import TranscriptSettings, transcription
from eval.reading.pictures import lines_from_json
from eval.reading.protocol import Protocol, register_protocol
from eval.store import Store
from eval.text_metrics.counts import PairCounts, count_pair, missing_counts
from eval.text_metrics.normalisers import Normaliser

__all__ = ["count_texts"]

_CELLS = """
    SELECT s.setting_id, s.prompt_id, s.seed, p.txt, t.text AS reading
    FROM samples s
    JOIN settings USING (setting_id)
    JOIN prompts p ON p.suite_id = settings.suite_id AND p.prompt_id = s.prompt_id
    LEFT JOIN transcripts t
        ON t.sha256 = s.sha256 AND t.region_id = if($mode = 'box', s.region_id, '')
        AND s.status = 'done' AND t.reader_id = $reader AND t.assembly_id = $assembly
    LEFT JOIN text_scores known ON known.setting_id = s.setting_id AND known.prompt_id = s.prompt_id
        AND known.seed = s.seed AND known.protocol_id = $protocol
    WHERE s.setting_id IN (SELECT unnest($settings))
      -- What was counted stays: the same texts under the same protocol give the same counts.
      AND (known.setting_id IS NULL OR known.reading IS DISTINCT FROM t.text)
      -- Where no text was asked for there is no region, so nothing that box mode could tell.
      AND ($mode = 'e2e' OR trim(p.txt) <> '')
    ORDER BY ALL
"""


def count_texts(store: Store, protocol: Protocol, setting_ids: Sequence[str]) -> None:
    """Count every expected picture of these settings under a protocol, missing ones as worst."""
    register_protocol(store, protocol)
    _assemble(store, protocol)
    key = {"reader": protocol.reader_id, "assembly": protocol.assembly_id, "mode": protocol.mode}
    cells = store.frame(_CELLS, key | {"settings": list(setting_ids), "protocol": protocol.id})
    if not cells.empty:
        store.write_table("text_scores", _counted(cells, protocol))


def _assemble(store: Store, protocol: Protocol) -> None:
    """Join the lines of readings that were not joined under these rules yet."""
    rows = store.rows(
        """SELECT sha256, region_id, lines FROM readings ANTI JOIN (
               SELECT sha256, region_id FROM transcripts
               WHERE reader_id = $reader AND assembly_id = $assembly)
           USING (sha256, region_id) WHERE reader_id = $reader AND lines IS NOT NULL""",
        {"reader": protocol.reader_id, "assembly": protocol.assembly_id},
    )
    key = {"reader_id": protocol.reader_id, "assembly_id": protocol.assembly_id}
    store.write(
        "transcripts",
        [
            key
            | {"sha256": sha256, "region_id": region_id, "text": _joined(lines_from_json(lines), protocol)}
            for sha256, region_id, lines in rows
        ],
    )


def _joined(lines: Sequence[TextLine], protocol: Protocol) -> str:
    if protocol.mode == "box":  # regions come in the order of the lines that were asked for
        return "\n".join(line.text if line.confidence >= protocol.min_confidence else "" for line in lines)
    # "any": the reader's own characters. A reading is not corrected towards what prompts may hold.
    return transcription(lines, TranscriptSettings(min_confidence=protocol.min_confidence, characters="any"))


def _counted(cells: pd.DataFrame, protocol: Protocol) -> pa.Table:
    txts, readings = (pa.array(cells[name]).to_pylist() for name in ("txt", "reading"))
    pairs = list(zip(txts, readings, strict=True))
    position = {pair: i for i, pair in enumerate(dict.fromkeys(pairs))}  # settings read the same text alike
    counts = [_count(*pair, protocol.normaliser) for pair in position]
    columns = pa.table(dict(zip(PairCounts._fields, zip(*counts, strict=True), strict=True)))
    spread = columns.take(pa.array([position[pair] for pair in pairs]))
    keys = {name: cells[name] for name in ("setting_id", "prompt_id", "seed")}
    named = keys | {"protocol_id": [protocol.id] * len(cells), "reading": readings}
    return pa.table(named | dict(zip(spread.column_names, spread.columns, strict=True)))


def _count(txt: str, reading: str | None, normaliser: Normaliser) -> PairCounts:
    if reading is None:
        return missing_counts(txt, normaliser)
    return count_pair(txt, reading, normaliser)
