"""Settings as an annotated TOML file: every one with what it does and its value."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import tomli_w

from txtdiff.config_files import inner_group, plain_tree
from txtdiff.settings import Settings

__all__ = ["annotated"]

_WIDTH = 100


def annotated(settings: Settings) -> str:
    """`settings` as TOML with each setting's documentation above it; reads back as the same settings.

    A group that is unset is shown with its defaults, commented out.
    """
    return "\n".join(_group_lines(settings, "")) + "\n"


def _group_lines(group: Settings, path: str) -> Iterator[str]:
    inner: list[tuple[str, Settings, str]] = []
    unset: list[tuple[str, Settings]] = []
    values = plain_tree(group)
    for name, field in type(group).model_fields.items():
        value, kind = getattr(group, name), inner_group(type(group), name)
        if isinstance(value, Settings):
            inner.append((name, value, field.description or ""))
            continue
        if kind is not None:
            unset.append((name, kind.model_construct()))
        yield from _comment(field.description or "")
        # TOML has no null: a setting that is unset and unset by default is shown, but commented out.
        shown = tomli_w.dumps({name: values[name]}).strip() if name in values else f"# {name} = none"
        yield from (*shown.split("\n"), "")
    for name, value, description in inner:
        inner_path = f"{path}.{name}" if path else name
        yield from _comment(description)
        yield from (f"[{inner_path}]", "")
        yield from _group_lines(value, inner_path)
    for name, value in unset:
        inner_path = f"{path}.{name}" if path else name
        for line in (f"[{inner_path}]", "", *_group_lines(value, inner_path)):
            yield f"# {line}" if line and not line.startswith("#") else line


def _comment(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), _WIDTH, initial_indent="# ", subsequent_indent="# ")
