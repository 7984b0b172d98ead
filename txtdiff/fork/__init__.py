"""The project this one continues: its command lines, checkpoints and state dicts, read as ours."""

from txtdiff.fork.network import network_from_fork

__all__ = ["network_from_fork"]
