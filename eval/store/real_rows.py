"""Rows of real pictures against other real pictures: what a table's numbers are at best."""

from __future__ import annotations

from dataclasses import dataclass

from eval.identity import canonical_json, identity
from eval.statistics.holding_out import hold_out
from eval.store.features import Features
from eval.store.store import Store

__all__ = ["REAL", "RealPictures", "real_features", "write_real_row"]

REAL = "real"
"""`spec.generator` of such a row in `settings`; it has no samples."""

_LAST = 1_000_000  # position: behind every setting of a sweep


@dataclass(frozen=True, slots=True)
class RealPictures:
    """Features of a catalog's pictures at one size."""

    features: Features
    digest: str
    size_px: int
    reference: str
    """As `settings.reference` names the catalog."""


def write_real_row(store: Store, like: str, real: RealPictures, n: int) -> str:
    """Enter the row of `n` real pictures under the suite of setting `like`; returns its id."""
    spec = {"generator": REAL, "reference": real.digest, "size_px": real.size_px, "n": n}
    setting_id = identity(spec)
    [(suite_id,)] = store.rows("SELECT suite_id FROM settings WHERE setting_id = ?", [like])
    row = {"setting_id": setting_id, "suite_id": suite_id, "label": f"real pictures, n = {n}"}
    row |= {"spec": canonical_json(spec), "position": _LAST, "reference": real.reference}
    store.write("settings", [row])
    return setting_id


def real_features(real: RealPictures, n: int) -> tuple[Features, Features] | None:
    """`n` real pictures, drawn by a fixed seed, and the others; None where those would be fewer."""
    return hold_out(real.features, n)
