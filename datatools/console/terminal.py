"""What every command shares: messages on stderr, a progress bar, exit codes, counts like 4k and 1M."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Protocol

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text
from typer.exceptions import TyperException

from datatools.errors import InputError

__all__ = [
    "EXIT_INTERRUPTED",
    "EXIT_SOME_FAILED",
    "EXIT_USAGE",
    "Advance",
    "count_option",
    "messages",
    "parse_count",
    "plain",
    "print_causes",
    "progress",
    "run_app",
    "say",
]

EXIT_SOME_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

messages = Console(stderr=True, highlight=False)
"""Messages, warnings and progress go here; results go to stdout through `typer.echo`."""


class Advance(Protocol):
    """Tells a progress bar that `n` more items are done, and optionally what to show beside it."""

    def __call__(self, n: int = 1, note: str = "") -> None: ...


class _Rate(ProgressColumn):
    """Items per second since the bar began."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else _rate(speed), style="cyan")


def _rate(per_s: float) -> str:
    """Three places, and never 4.66e+04."""
    return f"{per_s:,.0f}/s" if per_s >= 100 else f"{per_s:.3g}/s"


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Advance]:
    """A bar with done/total, rate and time left. On a stream that is no terminal: a line at the end.

    Args:
        what: what is being done, e.g. "reading pictures".
        total: the number of items, or None when it is not known.
    """
    columns: list[ProgressColumn] = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    columns += [_Rate(), TimeRemainingColumn(), TextColumn("{task.fields[note]}")]
    with Progress(*columns, console=messages) as bar:
        task = bar.add_task(plain(what), total=total, note="")

        def advance(n: int = 1, note: str = "") -> None:
            bar.update(task, advance=n, note=escape(plain(note)))

        yield advance


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """`text` without control and direction characters: file names and readings come from strangers."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def say(text: str, *, warning: str | None = None) -> None:
    """A message, on stderr, whatever a stranger's names in it hold; a path in it is not broken into lines.

    Args:
        warning: a word or two that stand before it in yellow.
    """
    heading = "" if warning is None else f"[yellow]{warning}:[/] "
    messages.print(heading + escape(plain(text)), soft_wrap=True)


def print_causes(title: str, counts: Mapping[str, int]) -> None:
    """A table of causes and how often each occurred, on stderr, most frequent first."""
    say(title)  # as a title of the table it would be broken to the width of its columns
    table = Table()
    table.add_column("cause")
    table.add_column("items", justify="right")
    for cause, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        table.add_row(escape(plain(cause)), str(n))
    messages.print(table)


def parse_count(text: str) -> int:
    """A count with an optional suffix: "4k" is 4000, "1M" a million, "2.5k" 2500.

    Raises:
        InputError: `text` is no such count.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmM]?)", text.strip().replace("_", ""))
    if match is None:
        raise InputError(f"'{text}' is not a count", "Write a whole number, or 4k or 1M.")
    number = float(match[1]) * {"": 1, "k": 1_000, "m": 1_000_000}[match[2].lower()]
    if number != int(number):
        raise InputError(f"'{text}' is not a whole number of items")
    return int(number)


def _parse_count_option(value: str) -> int:
    try:
        return parse_count(str(value))  # Typer hands over defaults unparsed
    except InputError as error:
        raise typer.BadParameter(str(error)) from error


def count_option(default: int | None, help_text: str) -> Any:
    """A Typer option that takes a count such as 4k or 1M."""
    return typer.Option(default, parser=_parse_count_option, metavar="COUNT", help=help_text)


def run_app(app: typer.Typer) -> None:
    """Run a Typer app as a command: user errors in one message, exit codes as in interfaces.md."""
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command = Path(sys.argv[0]).name
    try:
        status = app(standalone_mode=False)
    except InputError as error:
        _complain(error.what, error.remedy)
        sys.exit(EXIT_USAGE)
    except (KeyboardInterrupt, typer.Abort):
        _interrupted()
    except TyperException as error:
        _complain(error.format_message(), f"'{_asked(error) or command} --help' lists what it takes.")
        sys.exit(EXIT_USAGE)
    except BrokenPipeError:
        # Whoever read our output has gone; what it wanted it has.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_SOME_FAILED)
    except OSError as error:
        # A path nobody may write, a full disk: named like any other thing a user can mend.
        where = f"{error.filename}: " if error.filename else ""
        _complain(f"{where}{error.strerror or error}", "Check the path, its permissions and the free space.")
        sys.exit(EXIT_USAGE)
    if status == EXIT_INTERRUPTED:
        _interrupted()
    sys.exit(status if isinstance(status, int) else 0)


def _asked(error: TyperException) -> str | None:
    """The command and subcommand whose options were mistaken."""
    context = getattr(error, "ctx", None)
    return None if context is None else str(context.command_path)


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def _interrupted() -> NoReturn:
    _complain("interrupted", "What was finished is kept; run the same command again to go on.")
    sys.exit(EXIT_INTERRUPTED)


def _complain(what: str, remedy: str | None) -> None:
    messages.print(f"[red bold]error:[/] {escape(plain(what))}", soft_wrap=True)
    if remedy:
        messages.print(escape(plain(remedy)), soft_wrap=True)
