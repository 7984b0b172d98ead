"""The fork's config.json, which --config_path names: read under a command line, and written beside a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from datatools.errors import InputError
from datatools.home import expand_home
from txtdiff.fork.parse import ForkFlags, last_value, parse_fork_flags, script_of
from txtdiff.fork.table_model import MODEL_FLAGS

__all__ = ["config_json", "read_line"]

_OF_DIFFUSION = {
    "sigma_small", "diffusion_steps", "noise_schedule", "timestep_respacing", "use_kl", "predict_xstart",
    "rescale_timesteps", "rescale_learned_sigmas", "use_balanced_loss", "use_v_loss",
    "use_snr_plus_one_loss", "vb_loss_ratio",
}  # fmt: skip
_OF_TOKENIZER = ("max_seq_len", "char_level")
_STORED = {flag.name for flag in MODEL_FLAGS} - {"tokenizer"} | _OF_DIFFUSION
"""Flags of the network and of diffusion. Those of data and training are not in the file."""

_KIND = {"base": "a base model", "upsampler": "an upsampler"}


def read_line(
    argv: Sequence[str], command: Literal["train", "sample"], stage: Literal["base", "upsampler"] | None
) -> tuple[ForkFlags, list[str]]:
    """A command line, and under it what its --config_path says of the flags that it leaves out.

    The file also says which script is meant, where the line does not. (The fork asked whether to use the
    file, and stopped with an error at "y".)

    Returns:
        The flags, and what is to be said: those that were read from the file, and those that it contradicts.

    Raises:
        InputError: a line or a file that cannot be read, or one of a base model and one of an upsampler.
    """
    path = expand_home(last_value(argv, "config_path") or "")
    if not path.is_file():
        return parse_fork_flags(argv, script_of(argv, command, stage)), []
    from txtdiff.fork.files import read_config_json  # with torch, which most lines need not wait for

    stored = read_config_json(path)
    kind: Literal["base", "upsampler"] = "upsampler" if stored.upsampler else "base"
    asked = stage or ("upsampler" if script_of(argv, command).startswith("super_res") else kind)
    if asked != kind:
        raise InputError(
            f"--config_path {path} describes {_KIND[kind]}, and the command line is for {_KIND[asked]}",
            "Give the config.json of that network, or another --config_path.",
        )
    line = parse_fork_flags(argv, script_of(argv, command, kind))
    names = {name for name in stored.given if name in line.values and name in _STORED | {*_OF_TOKENIZER}}
    taken = {name: stored.values[name] for name in names - line.given}
    flags = replace(line, values={**line.values, **taken})
    return flags, _notes(path, stored, line, names)


def _notes(path: Path, stored: ForkFlags, line: ForkFlags, names: set[str]) -> list[str]:
    new = [name for name in names - line.given if stored.values[name] != line.values[name]]
    told = ", ".join(f"{name} {stored.values[name]}" for name in sorted(new))
    notes = [f"flags that the command line leaves out are read from {path}: {told}"] if new else []
    return notes + [
        f"--{name} {line.values[name]} counts, not the {stored.values[name]} of {path}"
        for name in sorted(names & line.given)
        if stored.values[name] != line.values[name]
    ]


def config_json(flags: ForkFlags) -> str:
    """The file that the fork writes when a run begins, for `txtdiff convert` and the fork's own pipeline."""
    tree = {
        "is_super_res": flags.upsampler,
        "tokenizer_config": {name: flags.values[name] for name in _OF_TOKENIZER},
        **{flag.name: flags.values[flag.name] for flag in flags.rows() if flag.name in _STORED},
    }
    return json.dumps(tree, indent=1)
