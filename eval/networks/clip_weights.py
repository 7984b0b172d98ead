"""Where the weights of a scoring CLIP come from: a file, the hub's cache, or the hub when it answers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import constants as hub

from datatools.errors import InputError, suggest
from datatools.home import expand_home
from datatools.reach import unreachable

__all__ = [
    "DEFAULT_HUB",
    "DEFAULT_MODEL",
    "MERGES",
    "TINY",
    "ClipWeights",
    "WeightsMissing",
    "clip_id",
    "file_digest",
    "find_clip_weights",
    "folder_of",
    "weights_file",
]

# open_clip takes five seconds of a processor to import: only functions that ask its tables do so.

DEFAULT_MODEL = ("ViT-B-32", "laion2b_s34b_b79k")
"""Not the tower the models are conditioned on (OpenAI's ViT-L/14@336px): that would judge its own pupil."""
DEFAULT_HUB = {"hf_hub": "laion/CLIP-ViT-B-32-laion2B-s34B-b79K/"}
"""What open_clip says of that tag."""

TINY = "tiny"
"""The name under which the CLIP of this package is asked for (recipes/scoring-clip)."""
TINY_FOLDER = Path(__file__).parent / "scoring_clip"
MERGES = "merges.txt.gz"
"""A folder with this file brings its own, shorter list of the tokenizer's merges."""

LOCAL_FOLDER = "local-dir:"
WEIGHT_FILES = ("open_clip_model.safetensors", "model.safetensors", "open_clip_pytorch_model.bin")


class WeightsMissing(InputError):  # noqa: N818 - a state of the machine, stored as a score's reason
    """A scoring CLIP has no weights here. `what` is the reason, `remedy` what would provide them."""


@dataclass(frozen=True)
class ClipWeights:
    """A weights file, and how the pictures of its training were prepared (open_clip's tag settings)."""

    path: Path
    options: dict[str, Any] = field(default_factory=dict)


def find_clip_weights(name: str, pretrained: str, timeout_s: float = 5.0) -> ClipWeights:
    """The weights file for an open_clip architecture.

    Args:
        name: an architecture open_clip knows, "local-dir:FOLDER" with `open_clip_config.json` and weights, or
            "tiny", the folder in this package.
        pretrained: a weights file, or one of open_clip's tags for `name`: taken from the hub's cache without
            any question to the network, else downloaded. Ignored for a folder.
        timeout_s: how long the hub may take to give a sign of life before it counts as absent.

    Raises:
        WeightsMissing: nothing here and no hub that answers.
        InputError: no such architecture, tag, file or folder.
    """
    import open_clip

    folder = folder_of(name)
    if folder is not None:
        return ClipWeights(_in_folder(folder))
    if name not in open_clip.list_models():
        known = [*open_clip.list_models(), TINY]
        raise InputError(f"open_clip knows no architecture '{name}'", suggest(name, known))
    tag = open_clip.get_pretrained_cfg(name, pretrained)
    if not tag:
        return ClipWeights(_named_file(name, pretrained))
    options = {f"image_{k}": tag[k] for k in ("mean", "std", "interpolation", "resize_mode") if k in tag}
    # OpenAI's weights were trained with QuickGELU; the plain architecture would compute something else.
    options["force_quick_gelu"] = bool(tag.get("quick_gelu"))
    return ClipWeights(_in_hub_cache(tag) or _download(name, pretrained, tag, timeout_s), options)


def weights_file(name: str, pretrained: str, timeout_s: float = 5.0) -> Path | None:
    """The file of `find_clip_weights` where open_clip need not be asked: a folder, a file, the default tag.

    Raises:
        WeightsMissing: as `find_clip_weights`.
        InputError: the folder holds no CLIP.
    """
    folder = folder_of(name)
    if folder is not None:
        return _in_folder(folder)
    if Path(pretrained).suffix and expand_home(pretrained).is_file():  # tags have no dots
        return expand_home(pretrained)
    if (name, pretrained) != DEFAULT_MODEL:
        return None
    kept = _in_hub_cache(DEFAULT_HUB)
    if kept is None:
        _check_hub(name, pretrained, hub.ENDPOINT, timeout_s)
    return kept


def clip_id(name: str, pretrained: str, weights: Path) -> str:
    """Architecture, tag and hash of the weights. Where a file lies is no part of it."""
    folder = folder_of(name)
    label = f"{name}/{Path(pretrained).name}" if folder is None else folder.name
    if name == TINY:
        label = "txtdiff-tiny"
    return f"open_clip/{label}/{file_digest(weights)[:16]}"


def folder_of(name: str) -> Path | None:
    """The folder that a name stands for, None where it is an architecture's."""
    if name == TINY:
        return TINY_FOLDER
    return Path(name.removeprefix(LOCAL_FOLDER)) if name.startswith(LOCAL_FOLDER) else None


def file_digest(path: Path) -> str:
    """sha256 of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _in_folder(folder: Path) -> Path:
    if not (folder / "open_clip_config.json").is_file():
        raise InputError(f"{folder} holds no open_clip_config.json", "Name a folder that open_clip saved.")
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return folder / name
    raise WeightsMissing(f"{folder} holds a CLIP's settings and no weights", f"Put {WEIGHT_FILES[0]} there.")


def _named_file(name: str, pretrained: str) -> Path:
    path = expand_home(pretrained)
    if path.is_file():
        return path
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(name)
    remedy = f"Give a weights file or one of open_clip's tags for it: {', '.join(tags)}."
    raise InputError(f"'{pretrained}' is neither a file nor weights for '{name}'", remedy)


def _in_hub_cache(tag: dict[str, Any]) -> Path | None:
    try:
        return _kept(tag)
    except OSError:  # a home that this user may not enter: as good as an empty cache
        return None


def _kept(tag: dict[str, Any]) -> Path | None:
    repo, _, file = str(tag.get("hf_hub", "")).rpartition("/")
    if repo:
        for candidate in [file] if file else WEIGHT_FILES:
            found = huggingface_hub.try_to_load_from_cache(repo, candidate)
            if isinstance(found, str):
                return Path(found)
    # A tag without a hub lies where open_clip itself downloads it.
    downloaded = expand_home("~/.cache/clip") / Path(str(tag.get("url", ""))).name
    return downloaded if tag.get("url") and downloaded.is_file() else None


def _download(name: str, pretrained: str, tag: dict[str, Any], timeout_s: float) -> Path:
    import open_clip

    _check_hub(name, pretrained, hub.ENDPOINT if tag.get("hf_hub") else str(tag["url"]), timeout_s)
    try:
        return Path(open_clip.download_pretrained(tag))
    except Exception as error:  # hub, proxy and disk errors share no base class
        raise WeightsMissing(f"no weights for {name} / {pretrained}: {error}", _REMEDY) from error


def _check_hub(name: str, pretrained: str, url: str, timeout_s: float) -> None:
    if hub.HF_HUB_OFFLINE:
        reason = "the hub is switched off (HF_HUB_OFFLINE)"
    elif (cause := unreachable(url, timeout_s)) is not None:
        reason = f"the hub cannot be reached ({cause})"
    else:
        return
    raise WeightsMissing(f"no weights for {name} / {pretrained}: {reason}", _REMEDY)


_REMEDY = (
    "Give a weights file (--clip-weights FILE), or fill the hub's cache on a machine that reaches it and "
    "copy it here; pictures and readings are stored, so scoring again adds only this score."
)
