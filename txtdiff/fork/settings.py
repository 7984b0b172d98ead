"""A command line of the fork -> settings of a run of ours, and what is to be said about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from datatools.atomic import write_text_atomic
from datatools.console import plain
from datatools.errors import InputError
from datatools.home import expand_home
from txtdiff.fork.config_json import config_json, read_line
from txtdiff.fork.model import model_config
from txtdiff.fork.notes import idle_notes
from txtdiff.fork.parse import ForkFlags, refuse_flags
from txtdiff.fork.training import nested, training_settings
from txtdiff.training.checkpoint import as_url

__all__ = ["ForkSettings", "fork_settings"]


@dataclass(frozen=True, slots=True)
class ForkSettings:
    """What a training command line of the fork asks for.

    Attributes:
        overrides: our settings by dotted path; what is absent keeps our default.
        upsampler: whether it trains an upsampler.
        resume: the fork's --resume_checkpoint, a `modelN.pt` of its or a checkpoint of ours.
        notes: flags that have no effect, each with the reason, to be shown once.
        config_json: its --config_path and what belongs there, if there is no such file yet.
    """

    overrides: dict[str, Any]
    upsampler: bool
    resume: Path | None
    notes: list[str]
    config_json: tuple[Path, str] | None = None

    def layer(self) -> dict[str, Any]:
        """`overrides` nested, as in a settings file."""
        return nested(self.overrides)

    def write_config_json(self) -> None:
        """Leave the fork's description of the network where --config_path says, as the fork did."""
        if self.config_json is not None:
            write_text_atomic(*self.config_json)


def fork_settings(argv: Sequence[str], stage: Literal["base", "upsampler"] | None = None) -> ForkSettings:
    """Read a command line of the fork's training scripts.

    Flags that are not given have the fork's defaults, which are not ours.

    Args:
        argv: the words after the script's name.
        stage: which of the two scripts; None = told by its flags (`script_of`).

    Raises:
        InputError: an unknown or refused flag, or a combination that the fork could not run.
    """
    flags, notes = read_line(argv, "train", stage)
    refuse_flags(flags)
    if flags.on("txt") and not flags.on("char_level"):
        raise InputError(
            "--char_level 0 (the fork's default) is refused: texts are then spelled by a tokenizer_file of "
            "the user's, and training here knows characters and CLIP's word pieces only",
            "Give --char_level 1, for word pieces with --set model.text.tokenizer=clip.",
        )
    model = model_config(flags)
    if flags.on("use_txt_in_dataload") and model.text is None:
        raise InputError(
            "--use_txt_in_dataload 1 is refused for a network that takes no text: the fork then reads texts "
            "all the same, leaves out pictures without a .txt file, keeps safeboxes whole and mirrors no "
            "picture with text; here texts are read for a network that takes them only",
            "Give --use_txt_in_dataload 0, with which every picture counts as one without text.",
        )
    # The number of tokens follows from the tokenizer, which --set may change.
    tree = model.model_dump(exclude={"text": {"vocab_size"}})
    overrides = {f"model.{name}": value for name, value in tree.items()}
    overrides |= training_settings(flags, model)
    resume = flags.text("resume_checkpoint")
    return ForkSettings(
        overrides,
        flags.upsampler,
        Path(resume) if resume else None,
        notes + list(idle_notes(flags)),
        _to_write(flags),
    )


def _to_write(flags: ForkFlags) -> tuple[Path, str] | None:
    name = flags.text("config_path")
    if as_url(Path(name)) is not None or (name and expand_home(name).is_dir()):
        what = f"--config_path {plain(name)} is no file on this machine"
        raise InputError(what, "Name a file, or leave it out.")
    return (expand_home(name), config_json(flags)) if name and not expand_home(name).exists() else None
