"""First weights of a caption tower: open_clip's, or those of a file."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import constants as hub
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from datatools.errors import InputError, in_words
from datatools.home import expand_home
from datatools.reach import unreachable
from txtdiff.model.caption_encoder import CaptionEncoder, openclip_name
from txtdiff.model.config import CaptionConfig
from txtdiff.model.pickled import named_tensors, read_pickled
from txtdiff.model.unet import UNet

__all__ = ["check_caption_weights", "load_caption_tower"]

_REMEDY = 'Set model.captions.weights to a file with CLIP weights, or to "random" to do without.'
_WHAT = "captions.weights"
_PARTS = ("token_embedding.", "positional_embedding", "transformer.")


def check_caption_weights(config: CaptionConfig | None) -> None:
    """See that weights are there or their hub answers, before anything long begins.

    Raises:
        InputError: they cannot be had; says what to do.
    """
    if config is None or config.weights == "random":
        return
    if config.weights == "pretrained":
        _check_source(config)
    elif not expand_home(config.weights).is_file():
        raise InputError(f"captions.weights = {config.weights}: there is no such file", _REMEDY)


def load_caption_tower(network: UNet) -> None:
    """Give the caption tower the weights that `captions.weights` names; for the beginning of a run.

    A network without captions, or with `captions.weights = "random"`, stays as it is.

    Raises:
        InputError: the weights are not to be had or do not fit; says what to do.
    """
    config, encoder = network.config.captions, network.caption_encoder
    if config is None or encoder is None or config.weights == "random":
        return
    weights = (
        _pretrained(config) if config.weights == "pretrained" else _from_file(expand_home(config.weights))
    )
    wanted = {name: t for name, t in encoder.state_dict().items() if name.startswith(_PARTS)}
    misfits = [n for n, t in wanted.items() if n not in weights or weights[n].shape != t.shape]
    if config.frozen and config.layer == "final" and isinstance(encoder.norm, nn.LayerNorm):
        misfits += [n for n in ("ln_final.weight", "ln_final.bias") if n not in weights]
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

    _check_source(config)
    name, tag = openclip_name(config.tower), config.pretrained_tag
    try:
        with _without_logging():
            model = open_clip.create_model(
                name, pretrained=tag, require_pretrained=True, force_custom_text=True
            )
    except Exception as error:  # open_clip passes on whatever its hubs and readers raise
        what = f"the weights {name}/{tag} of captions.tower cannot be had ({in_words(error)})"
        raise InputError(what, _REMEDY) from error
    tensors: dict[str, Tensor] = model.text.state_dict()
    return tensors


def _check_source(config: CaptionConfig) -> None:
    """See that open_clip has such weights, and that they are kept here or their hub answers."""
    import open_clip

    name, tag = openclip_name(config.tower), config.pretrained_tag
    source = open_clip.get_pretrained_cfg(name, tag)
    if not source:
        tags = open_clip.list_pretrained_tags_by_model(name)
        known = f"It has {', '.join(tags)}. " if tags else ""
        raise InputError(
            f"captions.pretrained_tag = {tag}: open_clip has no such weights for {name}", known + _REMEDY
        )
    # The hub is asked file by file, six times each, before its absence is told: a minute, and fifty lines.
    cause = None if _is_kept(source) else _why_absent(hub.ENDPOINT if source["hf_hub"] else source["url"])
    if cause is not None:
        raise InputError(f"the weights {name}/{tag} of captions.tower cannot be had: {cause}", _REMEDY)


def _is_kept(source: Mapping[str, Any]) -> bool:
    """Whether weights lie where open_clip would put them: in the hub's cache, or its own."""
    repo, _, file = str(source["hf_hub"]).rpartition("/")
    try:
        if repo:
            found = (huggingface_hub.try_to_load_from_cache(repo, name) for name in _asked_for(file))
            return any(isinstance(path, str) for path in found)
        return (expand_home("~/.cache/clip") / Path(str(source["url"])).name).is_file()
    except OSError:  # a home that this user may not enter: as good as an empty cache
        return False


def _asked_for(file: str) -> tuple[str, ...]:
    """What open_clip asks the hub for, in its order: `file`, its default where that is empty."""
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    if file in ("", HF_WEIGHTS_NAME):
        return HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
    return (file[:-4] + ".safetensors", file) if file.endswith((".bin", ".pth")) else (file,)


def _why_absent(url: str) -> str | None:
    if hub.HF_HUB_OFFLINE:
        return "the hub is switched off (HF_HUB_OFFLINE)"
    # A resolver asks its second name server after five seconds.
    cause = unreachable(url, timeout_s=15)
    return None if cause is None else f"the hub cannot be reached ({cause})"


@contextmanager
def _without_logging() -> Iterator[None]:
    """What open_clip and the hub log, each try anew, is in the error as well."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


def _from_file(path: Path) -> dict[str, Tensor]:
    """A CLIP state dict; the text side's tensors may have the prefix that open_clip gives them."""
    if path.suffix == ".safetensors":
        tensors = _safetensors(path)
    else:
        tensors = named_tensors(read_pickled(path, _WHAT, _REMEDY), path, _REMEDY)
    return {name.removeprefix("text."): tensor for name, tensor in tensors.items()}


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"{path} cannot be read as {_WHAT}: {in_words(error)}", _REMEDY) from error
