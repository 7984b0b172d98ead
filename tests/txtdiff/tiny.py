"""The smallest runs that still use every part of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from catalogs import make_pictures, write_catalog

from txtdiff.config import RunConfig
from txtdiff.config_files import make_config, settings_layer

TINY: dict[str, Any] = {
    "model": {
        "image_size_px": 16,
        "channels": 32,
        "channel_mult": [1, 1],
        "n_res_blocks": 1,
        "predicts_variance": False,
        "attention": {"resolutions_px": [8], "heads": 1, "channels_per_head": 32},
        "text": {
            "width": 32,
            "depth": 1,
            "max_length": 12,
            "attention": {"resolutions_px": [8], "heads": 1},
        },
    },
    "diffusion": {"parameterisation": "v", "variance": "fixed_small"},
    "data": {
        "batch_size": 4,
        "workers": 0,
        "crop": {"probability": 0.5, "min_area": 0.3},
        "no_text": {"flip_probability": 0.5},
        "drop_txt": 0.2,
    },
    "optim": {"lr": 1e-3, "warmup_images": 16, "clip_grad_norm": 1.0},
    "averaging": {"rates": [0.9, 0.5]},
    "run": {"images": 48, "log_every_images": 12, "save_every_images": 1000, "grid_pictures": 0},
}


def tiny_catalog(folder: Path, n: int = 10) -> Path:
    """A catalog of n small pictures."""
    return write_catalog(folder / "catalog.duckdb", make_pictures(folder / "pictures", n))


def tiny_config(catalog: Path, *changes: str) -> RunConfig:
    """A run that takes a second, with single settings changed."""
    return make_config(TINY, settings_layer([f"data.catalog={catalog}", *changes]))
