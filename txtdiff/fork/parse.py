"""The fork's command lines, read as its argparse read them."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, NoReturn

from datatools.errors import InputError, suggest
from txtdiff.fork.flags import Flag, Only, Script, Value
from txtdiff.fork.table_model import MODEL_FLAGS
from txtdiff.fork.table_sampling import SAMPLING_FLAGS
from txtdiff.fork.table_training import TRAINING_FLAGS

__all__ = [
    "FLAGS",
    "ForkFlags",
    "last_value",
    "parse_fork_flags",
    "refuse_flags",
    "script_of",
    "split_words",
]

FLAGS: tuple[Flag, ...] = (*MODEL_FLAGS, *TRAINING_FLAGS, *SAMPLING_FLAGS)
"""All flags of its four scripts. A flag whose default differs between scripts has a row for each."""

_UPSAMPLER_MARKS = {
    "large_size", "small_size", "noise_cond", "colorize", "antialias", "bicubic_down",
    "blur_prob", "blur_sigma_min", "blur_sigma_max", "blur_width",
}  # fmt: skip
_SLIP = 0.8
"""How like a flag (difflib's ratio) a word is that was meant to be it."""

_TRUE, _FALSE = {"yes", "true", "t", "y", "1"}, {"no", "false", "f", "n", "0"}


@dataclass(frozen=True, slots=True)
class ForkFlags:
    """A parsed command line.

    Attributes:
        script: the script it is meant for.
        values: every flag of that script, given or not.
        given: those that were given.
    """

    script: Script
    values: Mapping[str, Value]
    given: frozenset[str]

    @property
    def upsampler(self) -> bool:
        """Whether the network enlarges a smaller picture."""
        return self.script in ("super_res_train", "super_res_sample")

    def rows(self) -> Iterator[Flag]:
        """The table's rows for this script."""
        return (flag for flag in FLAGS if self.script in flag.scripts)

    def on(self, name: str) -> bool:
        """Whether a flag is true; False for one that this script does not have."""
        return bool(self.values.get(name, False))

    def whole(self, name: str) -> int:
        """The value of a flag of type int."""
        value = self.values[name]
        assert isinstance(value, int)
        return value

    def number(self, name: str) -> float:
        """The value of a flag of type int or float."""
        value = self.values[name]
        assert isinstance(value, int | float)
        return value

    def text(self, name: str) -> str:
        """The value of a flag of type str, "" for None."""
        value = self.values[name]
        assert value is None or isinstance(value, str)
        return value or ""


def parse_fork_flags(argv: Sequence[str], script: Script) -> ForkFlags:
    """Read `argv` as `script` would have: types, prefixes of names, the last of a repeated flag.

    Raises:
        InputError: an unknown flag, a value of the wrong type, or a flag of another script.
    """
    rows = {flag.name: flag for flag in FLAGS if script in flag.scripts}
    parser = _Parser(prog=script, add_help=False, argument_default=argparse.SUPPRESS)
    for flag in rows.values():
        parser.add_argument(f"--{flag.name}", type=_boolean if flag.type is bool else flag.type)
    known, unknown = parser.parse_known_args(list(argv))
    if unknown:
        raise _unknown_flag(unknown[0], script)
    given = vars(known)
    values = {name: flag.default for name, flag in rows.items()} | given
    return ForkFlags(script, values, frozenset(given))


def refuse_flags(flags: ForkFlags, table: Collection[Flag] = FLAGS) -> None:
    """Stop at flags of `table` that are taken at their default only, and have another value."""
    for flag in flags.rows():
        value = flags.values[flag.name]
        if flag in table and isinstance(flag.becomes, Only) and value != flag.default:
            raise InputError(
                f"--{flag.name} {value} is refused: {flag.becomes.reason}",
                f"Use {flag.becomes.instead} instead.",
            )


def split_words(argv: Sequence[str], ours: Collection[str]) -> tuple[list[str], list[str]]:
    """Words of a command line that are the fork's flags with their values, and all others.

    An option that is nearly one of its flags and no option of ours counts as one: reading it then fails with
    the flag that was meant.

    Args:
        argv: the words after the command.
        ours: names of our own options, without dashes, which are never taken for the fork's.
    """
    theirs: list[str] = []
    others: list[str] = []
    target = others
    for word in argv:
        if word.startswith("--"):
            name = word.removeprefix("--").split("=")[0]
            is_theirs = name not in ours and (_full_name(name) is not None or _is_slip(name, ours))
            target = theirs if is_theirs else others
        target.append(word)
        if target is theirs and (not word.startswith("--") or "=" in word):
            target = others
    return theirs, others


def script_of(
    argv: Sequence[str],
    command: Literal["train", "sample"],
    stage: Literal["base", "upsampler"] | None = None,
) -> Script:
    """Which of its scripts a command line is for: the upsampler's when a flag of its own appears in it."""
    if stage is None:
        names = [word.removeprefix("--").split("=")[0] for word in argv if word.startswith("--")]
        marked = any(_full_name(name) in _UPSAMPLER_MARKS for name in names)
        stage = "upsampler" if marked else "base"
    if command == "train":
        return "super_res_train" if stage == "upsampler" else "image_train"
    return "super_res_sample" if stage == "upsampler" else "image_sample"


def _full_name(prefix: str) -> str | None:
    names = {flag.name for flag in FLAGS}
    if prefix in names:
        return prefix
    longer = [name for name in names if name.startswith(prefix)]
    return longer[0] if len(longer) == 1 else None


def _is_slip(name: str, ours: Collection[str]) -> bool:
    # Our options of two words have a dash, the fork's flags an underscore.
    if "-" in name or get_close_matches(name, ours, n=1, cutoff=_SLIP):
        return False
    return bool(get_close_matches(name, {flag.name for flag in FLAGS}, n=1, cutoff=_SLIP))


def last_value(argv: Sequence[str], name: str) -> str | None:
    """The value of a flag, before it is known which script the line is for."""
    value = None
    for word, following in zip(argv, [*argv[1:], None], strict=True):
        flag, equals, joined = word.partition("=")
        if flag.startswith("--") and _full_name(flag.removeprefix("--")) == name:
            value = joined if equals else following
    return value


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise argparse.ArgumentTypeError(f"'{text}' is neither yes nor no (true, t, y, 1; false, f, n, 0)")


class _Parser(argparse.ArgumentParser):
    """argparse, whose errors are ours."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"the fork's command line: {message}")


def _unknown_flag(word: str, script: Script) -> InputError:
    name = word.removeprefix("--").split("=")[0]
    elsewhere = sorted(
        {other for flag in FLAGS if flag.name == name for other in flag.scripts if other != script}
    )
    if elsewhere:
        return InputError(f"--{name} is a flag of the fork's {', '.join(elsewhere)}, not of {script}")
    near = suggest(name, (flag.name for flag in FLAGS if script in flag.scripts))
    return InputError(f"{word} is not a flag of the fork's {script}", near)
