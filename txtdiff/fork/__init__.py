"""The project this one continues: its command lines, checkpoints and state dicts, read as ours."""

from typing import TYPE_CHECKING, Any

from txtdiff.fork.parse import split_words
from txtdiff.fork.settings import ForkSettings, fork_settings

if TYPE_CHECKING:
    from txtdiff.fork.network import network_from_fork

__all__ = ["ForkSettings", "fork_settings", "network_from_fork", "split_words"]


def __getattr__(name: str) -> Any:
    """`network_from_fork`, when it is asked for: reading a command line must not wait for torch."""
    if name == "network_from_fork":
        from txtdiff.fork.network import network_from_fork

        return network_from_fork
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
