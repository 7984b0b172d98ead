"""The limits that a catalog's pictures were decoded with, for whoever decodes them again."""

from __future__ import annotations

import json
from dataclasses import asdict

from datatools.catalog.catalog import Catalog
from datatools.decode import Limits

__all__ = ["known_limits", "widen_limits"]


def known_limits(catalog: Catalog) -> Limits:
    """The loosest limits of all builds: every picture that is `ok` in the catalog is within them."""
    found = catalog.info("limits")
    return Limits() if found is None else Limits(**json.loads(found))


def widen_limits(catalog: Catalog, limits: Limits) -> None:
    """Remember that a build decodes with `limits`; looser ones hold on, for pictures that it leaves alone."""
    if catalog.info("limits") is not None:
        known = known_limits(catalog)
        limits = Limits(
            max_bytes=max(known.max_bytes, limits.max_bytes),
            max_pixels=max(known.max_pixels, limits.max_pixels),
            min_edge_px=min(known.min_edge_px, limits.min_edge_px),
        )
    catalog.set_info("limits", json.dumps(asdict(limits)))
