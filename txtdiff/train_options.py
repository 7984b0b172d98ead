"""The options of `txtdiff train`, ours and the fork's, as the settings of a run."""

from __future__ import annotations

import os
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import typer
from typer.core import TyperCommand

from datatools.console import count_option, say
from datatools.errors import InputError
from datatools.home import expand_home
from txtdiff.pretrained import PREFIX
from txtdiff.training.checkpoint import as_url, find_checkpoint, list_checkpoints
from txtdiff.training.launch import n_launched

if TYPE_CHECKING:  # settings take a third of a second to lay out, which --help has no use for
    from txtdiff.config import RunConfig
    from txtdiff.fork import ForkSettings

__all__ = [
    "Changes",
    "ConfigFile",
    "PresetName",
    "TrainCommand",
    "TrainFlags",
    "TrainPlan",
    "run_config",
    "training_plan",
]

_OWN_TO_A_RUN = ("catalog", "folder", "synth", "where", "safeboxes", "px_scales", "captions", "class_map")
"""Settings of the data that a run does not take over from the one it starts from."""

Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Change one setting; repeat it. See `txtdiff config`."),
]
PresetName = Annotated[str | None, typer.Option(metavar="NAME", help="Start from a preset.")]
ConfigFile = Annotated[
    Path | None, typer.Argument(metavar="[CONFIG.toml]", help="Settings that overrule the preset.")
]


@dataclass(frozen=True, kw_only=True)
class TrainFlags:
    """Options of train; everything else is a setting."""

    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Run directory; the same again goes on. Default: runs/<time>."),
    ] = None
    preset: PresetName = None
    catalog: Annotated[Path | None, typer.Option(metavar="FILE", help="Pictures: data.catalog.")] = None
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Instead: a folder of pictures and .txt files, or a packed set: data.folder."
        ),
    ] = None
    synth: Annotated[
        str | None,
        typer.Option(metavar="PROFILE", help="Instead: pictures made while training: data.synth.profile."),
    ] = None
    where: Annotated[
        str | None, typer.Option(metavar="SQL", help="Which of them: data.where, e.g. 'confidence > 0.8'.")
    ] = None
    images: int | None = count_option(None, "How long to train: run.images.")
    init: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Start from a checkpoint's averaged weights and, without preset or file, its settings.",
        ),
    ] = None
    stage: Annotated[
        Literal["base", "upsampler"] | None,
        typer.Option(help="Which script of the parent project its flags are meant for."),
    ] = None
    changes: Changes = None

    def layer(self) -> dict[str, Any]:
        """The settings among the options."""
        options: dict[str, dict[str, Any]] = {
            "data": {
                "synth": self._synth(),
                "catalog": self.catalog and str(expand_home(self.catalog).absolute()),
                "folder": self.folder and str(expand_home(self.folder).absolute()),
                "where": self.where,
            },
            "run": {"images": self.images, "init": self.init and _whole_path(self.init)},
        }
        return {
            name: {setting: value for setting, value in group.items() if value is not None}
            for name, group in options.items()
        }

    def _synth(self) -> dict[str, str] | Literal["none"] | None:
        """Pictures of one's own take the place of those that a preset would make."""
        if self.synth is not None:
            return {"profile": self.synth}
        return "none" if self.catalog or self.folder else None


class TrainCommand(TyperCommand):
    """A command that lays the parent project's flags aside, in the context, before Typer sees them."""

    FORK_WORDS: ClassVar[str] = "txtdiff.fork_words"

    def parse_args(self, ctx: Any, args: Sequence[str]) -> list[str]:
        """As Typer's, with the words that are ours."""
        from txtdiff.fork import split_words

        own = {field.name for field in fields(TrainFlags)} | {"set", "help"}
        ctx.meta[self.FORK_WORDS], ours = split_words(args, own)
        return list(super().parse_args(ctx, ours))


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """What a command line asks for.

    Attributes:
        settings: of the run.
        out: its directory.
        fork: what the parent project's flags on the line say.
    """

    settings: RunConfig
    out: Path
    fork: ForkSettings | None

    def begin(self) -> None:
        """Leave the fork's description of the network where its --config_path says; what lies there stays.

        Called when a run begins: one that could not begin must leave no file that speaks for the next.
        """
        if self.fork is not None:
            self.fork.write_config_json()


def training_plan(flags: TrainFlags, config: Path | None, fork_words: Sequence[str]) -> TrainPlan:
    """The settings of a run and where it lies; the parent project's flags are read once."""
    fork = _fork_settings(flags, fork_words) if fork_words else None
    return TrainPlan(_settings(flags, config, fork), _run_dir(flags), fork)


def run_config(flags: TrainFlags, config: Path | None, fork_words: Sequence[str]) -> RunConfig:
    """The settings of a run: preset or the parent's flags < file < environment < command line."""
    return _settings(flags, config, _fork_settings(flags, fork_words) if fork_words else None)


def _settings(flags: TrainFlags, config: Path | None, fork: ForkSettings | None) -> RunConfig:
    from txtdiff import config_files as files

    layers: list[Mapping[str, Any]] = []
    if fork is not None:
        layers.append(_fork_layer(fork))
    elif flags.stage is not None:
        raise InputError("--stage has no effect without flags of the parent project")
    elif flags.preset:
        layers.append(files.preset_layer(flags.preset))
    elif config is None and flags.init is not None and flags.init.suffix != ".pt":
        layers.append(_settings_of(flags.init))
    if config is not None:
        layers.append(files.file_layer(config))
    layers += [files.environment_layer(), flags.layer(), files.settings_layer(flags.changes or [])]
    return files.make_config(*layers)


def _settings_of(init: Path) -> dict[str, Any]:
    """The settings of the checkpoint that a run starts from, but for its pictures and its length."""
    from txtdiff.config_files import config_to_toml
    from txtdiff.training.contents import CONFIG, load_config

    # Weights are compared with the manifest where they are read. But where there are several checkpoints, one
    # whose weights will be passed over must not give its settings.
    contents = None if len(list_checkpoints(expand_home(init))) > 1 else [CONFIG]
    tree = tomllib.loads(config_to_toml(load_config(find_checkpoint(init, contents))))
    tree["data"] = {name: value for name, value in tree["data"].items() if name not in _OWN_TO_A_RUN}
    return {name: group for name, group in tree.items() if name != "run"}


def _fork_settings(flags: TrainFlags, fork_words: Sequence[str]) -> ForkSettings:
    from txtdiff.fork import fork_settings

    if flags.preset:
        raise InputError(
            f"--preset and the parent project's {fork_words[0]} are both given", "Use one or the other."
        )
    settings = fork_settings(fork_words, flags.stage)
    for note in settings.notes:
        say(note)
    return settings


def _fork_layer(settings: ForkSettings) -> dict[str, Any]:
    layer = settings.layer()
    if settings.resume is not None:
        layer["run"]["init"] = _whole_path(settings.resume)
    return layer


def _whole_path(path: Path) -> str:
    """A path that holds in every folder; addresses and bundled stages as they are."""
    if as_url(path) is not None or str(path).startswith(PREFIX):
        return str(path)
    return str(expand_home(path).absolute())


def _run_dir(flags: TrainFlags) -> Path:
    """--out, else the parent project's variables, else a new directory under runs/."""
    named = [os.environ.get(name) for name in ("OPENAI_LOGDIR", "DIFFUSION_BLOB_LOGDIR")]
    given = flags.out or next((Path(name) for name in named if name), None)
    if given is None and (n_launched() or 1) > 1:
        raise InputError(
            "several processes train, and each would name a run directory by its own clock", "Give --out."
        )
    out = expand_home(given or Path("runs") / time.strftime("%Y-%m-%d-%H%M%S"))
    if as_url(out) is not None:
        raise InputError(
            f"the run directory {out} is no folder of this machine",
            "Give one with --out; --set run.upload=URL copies checkpoints to a bucket, and fetches them.",
        )
    return out
