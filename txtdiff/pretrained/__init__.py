"""Trained cascades that come with the package, called pretrained:NAME.

A folder of this one is a cascade: its stages are folders `base`, `upsampler`, … with a checkpoint that
`txtdiff export` made, `sampling.toml` says how to sample from it and what it can write, and README.md is its
model card.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from datatools.console import plain
from datatools.errors import InputError, suggest

__all__ = ["PREFIX", "bundled_names", "bundled_stage", "cascade_paths", "recommended", "unfamiliar_texts"]

PREFIX = "pretrained:"
_STAGES = ("base", "upsampler")


def bundled_names() -> list[str]:
    """Names of the cascades that come along."""
    return sorted(folder.name for folder in _root().iterdir() if (folder / "base").is_dir())


def bundled_stage(name: str) -> Path:
    """The checkpoint folder that pretrained:NAME/STAGE means; without a stage, the base.

    Raises:
        InputError: no such cascade or stage.
    """
    cascade, _, stage = name.removeprefix(PREFIX).partition("/")
    if cascade not in bundled_names():
        known = ", ".join(PREFIX + known for known in bundled_names()) or "none"
        raise InputError(
            f"there is no {PREFIX}{plain(cascade)}", suggest(cascade, bundled_names()) or f"There is {known}."
        )
    folder = _root() / cascade / (stage or "base")
    if (stage or "base") not in _STAGES or not folder.is_dir():
        raise InputError(f"{PREFIX}{cascade} has no stage '{plain(stage)}'", f"Stages: {', '.join(_STAGES)}.")
    return folder


def cascade_paths(base: Path, upsamplers: Sequence[Path]) -> list[Path]:
    """The stages that a command line means: pretrained:NAME alone brings its own upsampler.

    pretrained:NAME/base is its base without one.
    """
    named = str(base)
    if upsamplers or not named.startswith(PREFIX) or "/" in named:
        return [base, *upsamplers]
    bundled_stage(named)
    cascade = _root() / named.removeprefix(PREFIX)
    return [Path(f"{named}/{stage}") for stage in _STAGES if (cascade / stage).is_dir()]


def recommended(base: Path, upsamplers: Sequence[Path] = ()) -> dict[str, dict[str, Any]]:
    """Settings for each stage of a bundled cascade, those its model card was measured with; {} for others.

    Args:
        base: pretrained:NAME, or another base.
        upsamplers: those that a command line names; of any but the cascade's own nothing is known.
    """
    own = f"{str(base).partition('/')[0]}/upsampler"
    stages = _STAGES if all(str(path) == own for path in upsamplers) else ("base",)
    return {stage: settings for stage, settings in _sampling(base).items() if stage in stages}


def unfamiliar_texts(base: Path, texts: Iterable[str]) -> list[str]:
    """Those of the texts that a bundled cascade never learnt to write, by characters, length or lines."""
    known = _sampling(base).get("texts")
    return [] if known is None else [text for text in texts if not _is_familiar(text, known)]


def _is_familiar(text: str, known: Mapping[str, Any]) -> bool:
    lines = text.split("\n")
    fits = len(lines) <= known["lines"] and max(map(len, lines)) <= known["longest_line"]
    return fits and set("".join(lines)) <= set(known["characters"])


def _sampling(base: Path) -> dict[str, dict[str, Any]]:
    if not str(base).startswith(PREFIX):
        return {}
    return tomllib.loads((bundled_stage(str(base)).parent / "sampling.toml").read_text("utf-8"))


def _root() -> Path:
    return Path(str(resources.files("txtdiff") / "pretrained"))
