"""A checkpoint for others: the averaged weights in half precision and the settings, nothing to go on with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from txtdiff.config import RunConfig
from txtdiff.config_files import config_to_toml
from txtdiff.training.checkpoint import check_free, find_checkpoint, write_checkpoint
from txtdiff.training.contents import CAPTION_TOWER, CONFIG, MODEL, STATE, read_facts
from txtdiff.training.weights import TOWER_PREFIX, read_network
from txtdiff.which_weights import Weights

__all__ = ["export_weights"]


def export_weights(run: Path, out: Path, weights: Weights = "averaged") -> Path:
    """Write the weights of a checkpoint as float16, and what is needed to sample or to start from them.

    Args:
        run: a run directory, or one of its checkpoints.
        out: directory in which the checkpoint is made.
        weights: which of the checkpoint's weights.

    Returns:
        The checkpoint, an eighth of a training one with one average: no optimiser, no further averages.

    Raises:
        InputError: no usable checkpoint, or a whole one of that name lies in `out`.
    """
    checkpoint = find_checkpoint(run)
    images = int(read_facts(checkpoint)["images"])
    check_free(out / f"step-{images}")
    network, config = read_network(checkpoint, weights)
    kept = {"images": images, "averaging_count": 1, "started_from": None}
    tensors = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in network.state_dict().items()
    }
    # The tower apart: it is the larger half of a small model, and a file of a repository should not be large.
    tower = {name: tensor for name, tensor in tensors.items() if name.startswith(TOWER_PREFIX)}
    files: dict[str, Mapping[str, Tensor] | str] = {
        MODEL: {name: tensor for name, tensor in tensors.items() if name not in tower},
        CONFIG: config_to_toml(_without_places(config)),
        STATE: json.dumps(kept, indent=1),
    }
    if tower:
        files[CAPTION_TOWER] = tower
    return write_checkpoint(out, images, files)


def _without_places(config: RunConfig) -> RunConfig:
    """The settings without the paths of the machine they were trained on, which are nobody's business."""
    places = dict.fromkeys(("catalog", "folder", "safeboxes", "px_scales", "captions", "class_map"))
    data = config.data.model_copy(update=places)
    run = config.run.model_copy(update={"init": None, "upload": None})
    return config.model_copy(update={"data": data, "run": run})
