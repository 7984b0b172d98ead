"""What every command shares: messages on stderr, progress, exit codes, options, tables as text."""

from __future__ import annotations

from datatools.console.terminal import (
    EXIT_INTERRUPTED,
    EXIT_SOME_FAILED,
    EXIT_USAGE,
    Advance,
    count_option,
    messages,
    parse_count,
    plain,
    print_causes,
    progress,
    run_app,
    say,
)

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
