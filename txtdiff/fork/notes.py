"""What is said once of the fork's flags that do nothing in a command line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from txtdiff.fork.flags import NoEffect
from txtdiff.fork.idle import idle_flags
from txtdiff.fork.parse import FLAGS, ForkFlags

__all__ = ["idle_notes"]


def idle_notes(flags: ForkFlags) -> Iterator[str]:
    """Given flags, other than at their default, that do nothing, each with the reason."""
    # A script lacks flags of the others. They stand at their default, and what depends on them it lacks too.
    everywhere = {flag.name: flag.default for flag in FLAGS} | dict(flags.values)
    idle = idle_flags(replace(flags, values=everywhere))
    for flag in flags.rows():
        value = flags.values[flag.name]
        if flag.name not in flags.given or value == flag.default:
            continue
        if isinstance(flag.becomes, NoEffect):
            yield f"--{flag.name} {value} has no effect: {flag.becomes.reason}"
        elif flag.name in idle:
            yield f"--{flag.name} {value} has no effect: {idle[flag.name]}"
