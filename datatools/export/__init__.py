"""A catalog and its pictures as other tools want them, and packed for training."""

from __future__ import annotations

from datatools.export.forms import ExportFormat, ExportReport, export_catalog, new_folder, with_bytes

__all__ = [
    "ExportFormat",
    "ExportReport",
    "export_catalog",
    "new_folder",
    "with_bytes",
]
