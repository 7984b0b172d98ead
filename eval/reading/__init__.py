"""Pictures -> raw readings: each reader once, what a number depends on, and how far readers agree."""

from __future__ import annotations

from eval.reading.pictures import find_picture, lines_from_json, load_picture, read_pictures, register_reader

__all__ = ["find_picture", "lines_from_json", "load_picture", "read_pictures", "register_reader"]
