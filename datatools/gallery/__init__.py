"""One static page to look at a catalog: pictures with boxes over them, texts, confidence, failures."""

from __future__ import annotations

from datatools.gallery.page import GalleryReport, write_gallery

__all__ = ["GalleryReport", "write_gallery"]
