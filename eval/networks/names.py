"""Networks beside Inception over whose features a distance is taken, by name. Every command reads this."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from datatools.errors import InputError, suggest

__all__ = ["OtherNetworkName", "other_networks"]

OtherNetworkName = Literal["efficientnet", "dinov2"]


def other_networks(names: Sequence[str]) -> tuple[OtherNetworkName, ...]:
    """Networks by their names, each once.

    Raises:
        InputError: there is no such network.
    """
    known: tuple[OtherNetworkName, ...] = get_args(OtherNetworkName)
    for name in names:
        if name not in known:
            remedy = suggest(name, known) or f"Networks: {', '.join(known)}."
            raise InputError(f"no network '{name}' to take a distance over", remedy)
    return tuple(network for network in known if network in names)
