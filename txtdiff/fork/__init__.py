"""The project this one continues: its command lines, checkpoints and state dicts, read as ours."""

from txtdiff.fork.network import network_from_fork
from txtdiff.fork.parse import split_words
from txtdiff.fork.settings import ForkSettings, fork_settings

__all__ = ["ForkSettings", "fork_settings", "network_from_fork", "split_words"]
