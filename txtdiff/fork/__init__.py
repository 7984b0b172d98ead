"""The project this one continues: its command lines, checkpoints and state dicts, read as ours."""

from typing import TYPE_CHECKING, Any

from txtdiff.fork.parse import split_words

if TYPE_CHECKING:
    from txtdiff.fork.network import network_from_fork
    from txtdiff.fork.settings import ForkSettings, fork_settings

__all__ = ["ForkSettings", "fork_settings", "network_from_fork", "split_words"]


def __getattr__(name: str) -> Any:
    """What needs torch or our settings, when it is asked for: telling flags apart must not wait for them."""
    if name == "network_from_fork":
        from txtdiff.fork.network import network_from_fork

        return network_from_fork
    if name in ("ForkSettings", "fork_settings"):
        from txtdiff.fork import settings

        return getattr(settings, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
