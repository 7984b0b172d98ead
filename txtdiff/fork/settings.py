"""A command line of the fork -> settings of a run of ours, and what is to be said about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from datatools.errors import InputError
from txtdiff.fork.flags import NoEffect
from txtdiff.fork.idle import idle_flags
from txtdiff.fork.model import model_config
from txtdiff.fork.parse import ForkFlags, parse_fork_flags, refuse_flags, script_of
from txtdiff.fork.training import nested, training_settings

__all__ = ["ForkSettings", "fork_settings"]


@dataclass(frozen=True, slots=True)
class ForkSettings:
    """What a training command line of the fork asks for.

    Attributes:
        overrides: our settings by dotted path; what is absent keeps our default.
        upsampler: whether it trains an upsampler.
        resume: the fork's --resume_checkpoint, a `modelN.pt` of its or a checkpoint of ours.
        notes: flags that have no effect, each with the reason, to be shown once.
    """

    overrides: dict[str, Any]
    upsampler: bool
    resume: Path | None
    notes: list[str]

    def layer(self) -> dict[str, Any]:
        """`overrides` nested, as in a settings file."""
        return nested(self.overrides)


def fork_settings(argv: Sequence[str], stage: Literal["base", "upsampler"] | None = None) -> ForkSettings:
    """Read a command line of the fork's training scripts.

    Flags that are not given have the fork's defaults, which are not ours.

    Args:
        argv: the words after the script's name.
        stage: which of the two scripts; None = told by its flags (`script_of`).

    Raises:
        InputError: an unknown or refused flag, or a combination that the fork could not run.
    """
    flags = parse_fork_flags(argv, script_of(argv, "train", stage))
    refuse_flags(flags)
    if flags.on("txt") and not flags.on("char_level"):
        raise InputError(
            "--char_level 0 is refused: a text encoder with a tokenizer of its own is not trained here",
            "Give --char_level 1.",
        )
    model = model_config(flags)
    overrides = {f"model.{name}": value for name, value in model.model_dump().items()}
    overrides |= training_settings(flags, model)
    resume = flags.text("resume_checkpoint")
    return ForkSettings(overrides, flags.upsampler, Path(resume) if resume else None, list(_notes(flags)))


def _notes(flags: ForkFlags) -> Iterator[str]:
    """Given flags, other than at their default, that do nothing."""
    idle = idle_flags(flags)
    for flag in flags.rows():
        value = flags.values[flag.name]
        if flag.name not in flags.given or value == flag.default:
            continue
        if isinstance(flag.becomes, NoEffect):
            yield f"--{flag.name} {value} has no effect: {flag.becomes.reason}"
        elif flag.name in idle:
            yield f"--{flag.name} {value} has no effect: {idle[flag.name]}"
