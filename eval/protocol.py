"""The protocol of a text score: everything besides the picture that a number depends on.

Numbers under different protocol ids are never ranked together. TextDiffuser-2 went from 57.6 to 32.3 %
accuracy by the reader alone (microsoft/unilm issue 1677).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from eval.identity import canonical_json, identity
from eval.normalise import Normaliser
from eval.store import Store

__all__ = ["METRICS_VERSION", "Mode", "Protocol", "register_protocol"]

Mode = Literal["e2e", "box"]
"""e2e: the reader finds the text itself. box: its recogniser is shown where each line stands."""

METRICS_VERSION = 2
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
