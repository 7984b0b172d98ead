"""A network as the fork would have it, from its flags and a state dict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from datatools.errors import InputError
from txtdiff.fork.model import model_config, numbering_config
from txtdiff.fork.parse import ForkFlags, parse_fork_flags, refuse_flags
from txtdiff.fork.table_model import MODEL_FLAGS
from txtdiff.fork.tokens import tokens_of
from txtdiff.fork.weights import convert_state
from txtdiff.model.config import TowerSize
from txtdiff.model.unet import UNet, build_network

__all__ = ["load_fork_weights", "network_from_fork", "tower_of"]


def network_from_fork(flags: Sequence[str], state_dict: Mapping[str, Tensor], upsampler: bool) -> UNet:
    """The fork's network, in eval mode and float32, called as the fork's own.

    Args:
        flags: its command line; flags of data and training are read and have no influence.
        state_dict: its weights, as `modelN.pt` or `ema_…_N.pt` hold them.
        upsampler: whether the flags are those of its upsampler scripts.

    Raises:
        InputError: flags or weights that do not fit, all of them named.
    """
    parsed = parse_fork_flags(flags, "super_res_train" if upsampler else "image_train")
    return load_fork_weights(parsed, state_dict)


def load_fork_weights(flags: ForkFlags, state_dict: Mapping[str, Tensor]) -> UNet:
    """As `network_from_fork`, for flags already parsed."""
    refuse_flags(flags, MODEL_FLAGS)
    tower = tower_of(state_dict)
    network = build_network(model_config(flags, tower, tokens_of(flags, state_dict))).float()
    network.load_state_dict(convert_state(state_dict, numbering_config(flags, tower), network))
    return network.eval()


def tower_of(state_dict: Mapping[str, Tensor]) -> TowerSize | None:
    """Sizes of the caption tower in a state dict, or None if it holds none."""
    tokens = state_dict.get("clipmod.token_embedding.weight")
    places = state_dict.get("clipmod.positional_embedding")
    if tokens is None or places is None:
        return None
    if tokens.ndim != 2 or places.ndim != 2:
        raise InputError("the fork's caption tower: token and position tables must have two dimensions")
    prefix = "clipmod.transformer.resblocks."
    layers = {int(key[len(prefix) :].split(".")[0]) for key in state_dict if key.startswith(prefix)}
    width = tokens.shape[1]
    return TowerSize(
        width=width,
        layers=max(layers, default=0) + 1,
        # CLIP's heads have 64 channels, and no tensor says so; towers too narrow for that have four heads.
        heads=max(4, width // 64),
        vocab_size=tokens.shape[0],
        context_length=places.shape[0],
    )
