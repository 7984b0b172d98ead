"""The protocol of a text score: everything besides the picture that a number depends on.

Numbers under different protocol ids are never ranked together. TextDiffuser-2 went from 57.6 to 32.3 %
accuracy by the reader alone (microsoft/unilm issue 1677).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from eval.identity import canonical_json, identity
from eval.text_metrics.normalisers import Normaliser

if TYPE_CHECKING:  # options speak of protocols before there is a store
    from eval.store import Store

__all__ = ["METRICS_VERSION", "KnownProtocol", "Mode", "Protocol", "load_protocols", "register_protocol"]

Mode = Literal["e2e", "box"]
"""e2e: the reader finds the text itself. box: its recogniser is shown where each line stands."""

METRICS_VERSION = 3
"""Raised whenever a change of this package could change a text score of the same reading."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a picture's text is read and compared."""

    reader_id: str
    min_confidence: float = 0.5
    """Lines below this confidence are not part of the reading. Raw lines are kept, so it can be swept."""
    normaliser: Normaliser = "ci"
    mode: Mode = "e2e"

    @property
    def assembly_id(self) -> str:
        """Identity of how lines become one text: `datatools.transcript` of this version."""
        return identity({"rules": METRICS_VERSION, "min_confidence": self.min_confidence})

    @property
    def spec(self) -> dict[str, Any]:
        """The protocol as plain data."""
        return {
            "reader": self.reader_id,
            "mode": self.mode,
            "min_confidence": self.min_confidence,
            "normaliser": self.normaliser,
            "metrics_version": METRICS_VERSION,
        }

    @property
    def id(self) -> str:
        """Hash of the spec."""
        return identity(self.spec)


def register_protocol(store: Store, protocol: Protocol) -> Mapping[str, Any]:
    """Enter a protocol into the store and return its row."""
    row = {"protocol_id": protocol.id, "reader_id": protocol.reader_id, "spec": canonical_json(protocol.spec)}
    store.write("protocols", [row])
    return row


@dataclass(frozen=True, slots=True)
class KnownProtocol:
    """A protocol that a store holds scores under."""

    spec: Mapping[str, Any]
    words: str
    """ "rapidocr e2e ci": reader, mode, normaliser; and the threshold where it is not the usual one."""


def load_protocols(store: Store) -> dict[str, KnownProtocol]:
    """Protocols by id: of the newest metrics first, and of those the nearest to the headline's."""
    rows = store.rows(
        """SELECT protocol_id, spec, coalesce(name, p.reader_id) FROM protocols p
           LEFT JOIN readers r ON r.reader_id = p.reader_id ORDER BY protocol_id"""
    )
    usual = Protocol("")

    def order(one: KnownProtocol) -> tuple[int, int]:
        n_others = sum(one.spec[key] != usual.spec[key] for key in ("mode", "min_confidence", "normaliser"))
        return -one.spec["metrics_version"], n_others

    known = {}
    for protocol_id, packed, reader in rows:
        spec = json.loads(packed)
        threshold = spec["min_confidence"]
        further = [] if threshold == usual.min_confidence else [f"confidence >= {threshold:g}"]
        words = " ".join([reader, spec["mode"], spec["normaliser"], *further])
        known[protocol_id] = KnownProtocol(spec, words)
    return dict(sorted(known.items(), key=lambda item: order(item[1])))
