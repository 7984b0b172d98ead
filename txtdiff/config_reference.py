"""Settings as an annotated TOML file: every one with what it does and its value."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import tomli_w

from txtdiff.config_files import inner_group, plain_tree
from txtdiff.settings import Settings

__all__ = ["annotated"]

_WIDTH = 100


def annotated(settings: Settings) -> str:
    """`settings` as TOML with each setting's documentation above it; reads back as the same settings.

    What is unset is shown commented out, a group with its defaults: "#name = value" without a space, so that
    it can be told from prose and comes into force when the "#" is taken off.
    """
    return "\n".join(_group_lines(settings, "")) + "\n"


def _group_lines(group: Settings, path: str, mark: str = "") -> Iterator[str]:
    """Lines of a group and those in it; `mark` stands before what is not prose."""
    inner: list[tuple[str, Settings, str, str]] = []
    values = plain_tree(group)
    for name, field in type(group).model_fields.items():
        value, kind = getattr(group, name), inner_group(type(group), name)
        description = field.description or ""
        if isinstance(value, Settings):
            inner.append((name, value, mark, description))
            continue
        if kind is not None and name not in values:
            inner.append((name, kind.model_construct(), "#", description))
            continue
        if kind is not None:  # unset although its default is a group: both at once would be no TOML
            inner.append((name, kind.model_construct(), "#", f'In place of {name} = "none" above.'))
        yield from _comment(description)
        yield from (*_value_lines(name, values, mark), "")
    for name, value, its_mark, description in inner:
        inner_path = f"{path}.{name}" if path else name
        yield from _comment(description)
        yield from (f"{its_mark}[{inner_path}]", "")
        yield from _group_lines(value, inner_path, its_mark)


def _value_lines(name: str, values: Mapping[str, Any], mark: str) -> list[str]:
    if name not in values:  # TOML has no null: what is unset by default too is commented out
        return [f'#{name} = "none"']
    first, *rest = tomli_w.dumps({name: values[name]}).strip().split("\n")
    if not mark or not rest:
        return [mark + first, *rest]
    *items, last = map(str.strip, rest)  # of a list, whose lines would look like prose behind a mark
    return [mark + first + " ".join(items).removesuffix(",") + last]


def _comment(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), _WIDTH, initial_indent="# ", subsequent_indent="# ")
