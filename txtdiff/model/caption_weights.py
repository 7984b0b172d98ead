"""First weights of a caption tower: open_clip's, or those of a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from datatools.errors import InputError
from txtdiff.model.caption_encoder import CaptionEncoder, openclip_name
from txtdiff.model.config import CaptionConfig
from txtdiff.model.unet import UNet

__all__ = ["load_caption_tower"]

_REMEDY = 'Set captions.weights to a file with CLIP weights, or to "random" to do without.'
_PARTS = ("token_embedding.", "positional_embedding", "transformer.")


def load_caption_tower(network: UNet) -> None:
    """Give the caption tower the weights that `captions.weights` names; for the beginning of a run.

    A network without captions, or with `captions.weights = "random"`, stays as it is.

    Raises:
        InputError: the weights are not to be had or do not fit; says what to do.
    """
    config, encoder = network.config.captions, network.caption_encoder
    if config is None or encoder is None or config.weights == "random":
        return
    weights = _pretrained(config) if config.weights == "pretrained" else _from_file(Path(config.weights))
    wanted = {name: t for name, t in encoder.state_dict().items() if name.startswith(_PARTS)}
    misfits = [n for n, t in wanted.items() if n not in weights or weights[n].shape != t.shape]
    if misfits:
        raise InputError(
            f"captions.weights = {config.weights}: {len(misfits)} tensors are missing or of another shape, "
            f"among them {misfits[0]}",
            "Give the tower that these weights belong to as captions.tower, or its sizes as captions.size.",
        )
    encoder.load_state_dict({name: weights[name] for name in wanted}, strict=False)
    _take_final_norm(encoder, config, weights)


def _take_final_norm(encoder: CaptionEncoder, config: CaptionConfig, weights: Mapping[str, Tensor]) -> None:
    """The norm after the last block is CLIP's own; after the last but one it is new, and starts afresh."""
    if config.layer == "final" and isinstance(encoder.norm, nn.LayerNorm) and "ln_final.weight" in weights:
        encoder.norm.load_state_dict({n: weights[f"ln_final.{n}"] for n in ("weight", "bias")})


def _pretrained(config: CaptionConfig) -> dict[str, Tensor]:
    import open_clip

    name = openclip_name(config.tower)
    try:
        model = open_clip.create_model(
            name, pretrained=config.pretrained_tag, require_pretrained=True, force_custom_text=True
        )
    except Exception as error:  # open_clip passes on whatever its hubs and readers raise
        raise InputError(
            f"the weights {name}/{config.pretrained_tag} cannot be had: {error}", _REMEDY
        ) from error
    tensors: dict[str, Tensor] = model.text.state_dict()
    return tensors


def _from_file(path: Path) -> dict[str, Tensor]:
    """A CLIP state dict; the text side's tensors may have the prefix that open_clip gives them."""
    try:
        if path.suffix == ".safetensors":
            tensors = load_file(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, UnpicklingError, SafetensorError, ValueError, EOFError) as error:
        raise InputError(f"captions.weights = {path} cannot be read: {error}", _REMEDY) from error
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise InputError(f"captions.weights = {path} holds no state dict", _REMEDY)
    return {str(name).removeprefix("text."): tensor for name, tensor in tensors.items()}
