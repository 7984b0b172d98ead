"""What a flag of the fork is: name, type, default, the scripts that take it, and what becomes of it here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "IS",
    "IS_SS",
    "IT",
    "IT_IS",
    "IT_ST",
    "IT_ST_IS",
    "IT_ST_IS_SS",
    "SS",
    "ST",
    "ST_SS",
    "Combined",
    "Flag",
    "NoEffect",
    "Only",
    "Script",
    "To",
    "Value",
]

Script = Literal["image_train", "super_res_train", "image_sample", "super_res_sample"]
Value = bool | int | float | str | None

IT, ST, IS, SS = (
    frozenset[Script]({"image_train"}),
    frozenset[Script]({"super_res_train"}),
    frozenset[Script]({"image_sample"}),
    frozenset[Script]({"super_res_sample"}),
)
IT_ST, IT_IS, ST_SS, IS_SS = IT | ST, IT | IS, ST | SS, IS | SS
IT_ST_IS = IT_ST | IS
IT_ST_IS_SS = IT_ST | IS_SS


@dataclass(frozen=True, slots=True)
class To:
    """The value goes to one of our settings as it is; an empty text means that it is not set."""

    path: str


@dataclass(frozen=True, slots=True)
class Only:
    """Nothing but the default is taken; any other value is refused by name."""

    reason: str
    instead: str


@dataclass(frozen=True, slots=True)
class NoEffect:
    """Taken and listed once: it has nothing to act on here."""

    reason: str


@dataclass(frozen=True, slots=True)
class Combined:
    """Read together with others, by `txtdiff.fork.model`, `.training` or `.sampling`."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A row of the table. A default of None is read as text, as the fork did."""

    name: str
    type: type[bool] | type[int] | type[float] | type[str]
    default: Value
    scripts: frozenset[Script]
    becomes: To | Only | NoEffect | Combined = Combined()
