"""A sweep: every combination of the sampler settings that were asked for, each with a stable id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from eval.identity import identity

__all__ = ["Setting", "grid", "make_setting"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the leaderboard to be. `spec` holds everything that shapes its pictures, as plain data."""

    id: str
    label: str
    spec: Mapping[str, Any]


def make_setting(spec: Mapping[str, Any], label: str) -> Setting:
    """A setting whose id is the hash of its spec: the same spec is the same row, in any store."""
    return Setting(identity(spec), label, dict(spec))


def grid(axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of one value per axis; the last axis varies fastest. Repeated values count once."""
    values = [list(dict.fromkeys(options)) for options in axes.values()]
    return [dict(zip(axes, point, strict=True)) for point in product(*values)]
