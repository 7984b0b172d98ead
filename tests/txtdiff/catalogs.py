"""Small catalogs with known content, for the tests of training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from datatools.catalog import open_catalog


def make_pictures(folder: Path, n: int, size_px: tuple[int, int] = (48, 40)) -> list[dict[str, Any]]:
    """Pictures of coloured bars with one word each, every fifth without text; rows for `write_catalog`."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = []
    for i in range(n):
        pixels = np.full((size_px[1], size_px[0], 3), rng.integers(0, 255, 3), dtype=np.uint8)
        image = Image.fromarray(pixels)
        word = "" if i % 5 == 4 else "".join(rng.choice(list("abcdef"), 3))
        ImageDraw.Draw(image).text((8, 12), word, fill="white")
        path = folder / f"{i:03}.png"
        image.save(path)
        rows.append(
            {
                "key": path.name,
                "uri": str(path.resolve()),
                "size_px": size_px,
                "text": word,
                "safebox": (6.0, 10.0, 30.0, 26.0) if word else None,
                "captions": [f"bars number {i}"],
            }
        )
    return rows


def write_catalog(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """A catalog with these pictures, through the same tables a build fills."""
    with open_catalog(path, "write") as catalog, catalog.transaction():
        pictures = [
            {
                "key": row["key"],
                "uri": row["uri"],
                "width_px": row["size_px"][0],
                "height_px": row["size_px"][1],
                "source_width_px": row["size_px"][0],
                "source_height_px": row["size_px"][1],
                "size_bytes": Path(row["uri"]).stat().st_size,
                "status": "read",
            }
            for row in rows
        ]
        spoken = []
        for row in rows:
            if row["text"] is not None:
                box = row["safebox"] or (None, None, None, None)
                spoken.append(
                    {"key": row["key"], "text": row["text"], "source": "test", "confidence": 1.0,
                     "n_lines": len(row["text"].splitlines()), "n_chars": len(row["text"]),
                     "left": box[0], "top": box[1], "right": box[2], "bottom": box[3]}
                )  # fmt: skip
        captions = [
            {"key": row["key"], "caption": caption, "position": i, "source": "test"}
            for row in rows
            for i, caption in enumerate(row.get("captions", ()))
        ]
        scales = [
            {"key": row["key"], "sx": row["px_scale"][0], "sy": row["px_scale"][1], "source": "test"}
            for row in rows
            if row.get("px_scale")
        ]
        tables = {"pictures": pictures, "spoken": spoken, "captions": captions, "px_scales": scales}
        for name, content in tables.items():
            catalog.append(name, catalog.table(name, content))
    return path


def catalog_of_synth(folder: Path, path: Path) -> Path:
    """A catalog of what `datatools synth` drew, with the drawn truth for a transcription."""
    captions = {}
    for line in (folder / "captions.jsonl").read_text("utf-8").splitlines():
        entry = json.loads(line)
        captions[entry["key"]] = entry["captions"]
    rows = []
    for line in (folder / "truth.jsonl").read_text("utf-8").splitlines():
        truth = json.loads(line)
        with Image.open(folder / truth["key"]) as image:
            size = image.size
        rows.append(
            {"key": truth["key"], "uri": str((folder / truth["key"]).resolve()), "size_px": size,
             "text": truth["text"], "safebox": truth["safebox"], "captions": captions.get(truth["key"], [])}
        )  # fmt: skip
    return write_catalog(path, rows)
