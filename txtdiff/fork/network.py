"""A network as the fork would have it, from its flags and a state dict."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from datatools.errors import InputError
from txtdiff.config_files import validated
from txtdiff.fork.model import model_config, numbering_config
from txtdiff.fork.parse import ForkFlags, parse_fork_flags, refuse_flags
from txtdiff.fork.table_model import MODEL_FLAGS
from txtdiff.fork.tokens import refuse_foreign_tokens, tokens_of
from txtdiff.fork.weights import convert_state
from txtdiff.model.caption_weights import load_caption_tower
from txtdiff.model.config import TowerSize
from txtdiff.model.unet import UNet, build_network

__all__ = ["build_with_tower", "load_with_tower", "network_from_fork", "tower_of"]

_TOWER_BLOCK = re.compile(r"clipmod\.transformer\.resblocks\.(\d{1,9})\.")


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
    refuse_flags(parsed, MODEL_FLAGS)
    tower = tower_of(state_dict)
    network = build_network(model_config(parsed, tower, tokens_of(parsed, state_dict))).float()
    network.load_state_dict(convert_state(state_dict, numbering_config(parsed, tower), network))
    return network.eval()


def load_with_tower(flags: ForkFlags, state_dict: Mapping[str, Tensor]) -> UNet:
    """The network of a sampling line; a frozen caption tower, which the fork does not store, is fetched."""
    network, kept = build_with_tower(flags, state_dict)
    numbering = numbering_config(flags, tower_of(state_dict))
    network.load_state_dict(convert_state(state_dict, numbering, network, kept), strict=False)
    return network.float().eval()


def build_with_tower(
    flags: ForkFlags, state_dict: Mapping[str, Tensor], caption_weights: str = "pretrained"
) -> tuple[UNet, frozenset[str]]:
    """A network to be told texts, and the names of its tensors that the fork does not store.

    Those are the tower's, where it is frozen; it has the weights that `caption_weights` names.

    Raises:
        InputError: flags that describe no network, texts that cannot be spelled, a tower not to be had.
    """
    tower = tower_of(state_dict)
    config = model_config(flags, tower, tokens_of(flags, state_dict))
    refuse_foreign_tokens(config)
    if config.captions is not None:
        config = config.model_copy(
            update={"captions": config.captions.model_copy(update={"weights": caption_weights})}
        )
    network = build_network(config)
    if config.captions is None or tower is not None or not config.captions.frozen:
        return network, frozenset()
    try:
        load_caption_tower(network)
    except InputError as error:
        raise InputError(
            error.what,
            "The fork does not store a frozen tower. `txtdiff convert RUN --out DIR --caption-weights FILE` "
            "takes it from a file, or random to do without; `txtdiff sample --base DIR` then has it.",
        ) from error
    stored = "capt_ln_final.weight" in state_dict
    return network, frozenset(
        name
        for name in network.state_dict()
        if name.startswith("caption_encoder.") and not (stored and ".norm." in name)
    )


def tower_of(state_dict: Mapping[str, Tensor]) -> TowerSize | None:
    """Sizes of the caption tower in a state dict, or None if it holds none."""
    tokens = state_dict.get("clipmod.token_embedding.weight")
    places = state_dict.get("clipmod.positional_embedding")
    if tokens is None or places is None:
        return None
    if tokens.ndim != 2 or places.ndim != 2:
        raise InputError("the fork's caption tower: token and position tables must have two dimensions")
    layers = {int(block.group(1)) for key in state_dict if (block := _TOWER_BLOCK.match(key))}
    width = tokens.shape[1]
    size = {
        "width": width,
        "layers": max(layers, default=0) + 1,
        # CLIP's heads have 64 channels, and no tensor says so; towers too narrow for two have four heads.
        "heads": width // 64 if width >= 128 else 4,
        "vocab_size": tokens.shape[0],
        "context_length": places.shape[0],
    }
    return validated(TowerSize, size, "the fork's caption tower")
