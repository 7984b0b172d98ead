"""Command-line options as the fields of a dataclass: commands take one object, not twenty arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from typing import Any, ClassVar, get_type_hints

from typer.core import TyperCommand

from datatools.errors import InputError

__all__ = ["OptionalValues", "count_within", "flags"]


def flags(group: type[Any], name: str = "flags") -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a Typer command whose parameter `name` is filled from one option per field of the dataclass
    `group`.

    A field's annotation is what Typer expects of a parameter, `Annotated[int, typer.Option(...)]`.
    """
    hints = get_type_hints(group, include_extras=True)
    options = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != name]

        @functools.wraps(command)
        def run(**given: Any) -> None:
            chosen = group(**{option.name: given.pop(option.name) for option in options})
            command(**given, **{name: chosen})

        # Typer reads the signature: the object is replaced by its fields there.
        run.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in (*own, *options)}
        del run.__wrapped__
        return run

    return wrap


def count_within(option: str, n: int, most: int | None = None) -> int:
    """A count that an option was given, when it is from 1 to `most`.

    Raises:
        InputError: it is not; names the option.
    """
    if n < 1 or (most is not None and n > most):
        limit = "at least 1" if most is None else f"from 1 to {most}"
        raise InputError(f"{option} {n} cannot be used", f"It must be {limit}.")
    return n


class OptionalValues(TyperCommand):
    """A command with options whose value may be left out, which Typer lacks; it is then ""."""

    optional: ClassVar[dict[str, Callable[[str], bool]]] = {}
    """Option -> whether the word that follows it is its value."""

    def parse_args(self, ctx: Any, args: Sequence[str]) -> list[str]:
        """As Typer's, with "" filled in after an option that stands alone."""
        filled: list[str] = []
        for arg, following in zip(args, [*args[1:], "--"], strict=True):
            filled.append(arg)
            takes = self.optional.get(arg)
            if takes is not None and (following.startswith("-") or not takes(following)):
                filled.append("")
        return list(super().parse_args(ctx, filled))
