"""Settings from files, the environment and the command line to a RunConfig, and back to TOML.

Later layers win: preset < file < environment < command line. TOML has no null, so an optional setting that is
off although its default is on is written as "none".
"""

from __future__ import annotations

import os
import re
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, cast

import tomli_w
from pydantic import ValidationError

from datatools.bounded_files import read_text
from datatools.console import plain
from datatools.errors import InputError, suggest
from datatools.home import expand_home
from txtdiff.config import STORED, RunConfig
from txtdiff.settings import Settings

__all__ = [
    "SETTINGS_LIMIT_BYTES",
    "config_from_toml",
    "config_to_toml",
    "environment_layer",
    "file_layer",
    "inner_group",
    "make_config",
    "plain_tree",
    "preset_layer",
    "preset_names",
    "settings_layer",
    "unchecked",
    "validated",
]

Group = TypeVar("Group", bound=Settings)

Layer = Mapping[str, Any]
"""Nested settings, as in a TOML file."""

_ENVIRONMENT = "TXTDIFF_"
SETTINGS_LIMIT_BYTES = 1_000_000
_WORDS = re.compile(r"[\w.:/@-]+(,[\w.:/@-]+)+")


def make_config(*layers: Layer) -> RunConfig:
    """Merge layers, the later ones winning, and check the result.

    Raises:
        InputError: an unknown setting (with a suggestion), a value out of range, a setting without effect.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        _merge(merged, layer)
    return validated(RunConfig, merged, remedy="`txtdiff config` lists all settings.")


def validated(
    group: type[Group], tree: Layer, prefix: str = "", remedy: str | None = None, context: str | None = None
) -> Group:
    """Settings of one group from nested values as files and the command line have them: "none" is None.

    Args:
        group: which settings.
        tree: their values; a nested group may be a table or settings already.
        prefix: what to call the group in an error, e.g. "base" for base.n_steps.
        remedy: what to say beside an error.
        context: STORED for what a checkpoint was made with.

    Raises:
        InputError: an unknown setting (with a suggestion), a value out of range, a setting without effect;
            a line for each.
    """
    try:
        return group.model_validate(_spelled_out(tree, group), context=context)
    except ValidationError as error:
        raise InputError(_explain(error, group, prefix), remedy) from error


def unchecked(group: type[Group], tree: Layer) -> Group:
    """As `validated`, with values taken as they are: for settings that describe what is never run."""
    fields: dict[str, Any] = {}
    for name, value in tree.items():
        inner = inner_group(group, name)
        fields[name] = unchecked(inner, value) if inner and isinstance(value, Mapping) else value
    return cast(Group, group.model_construct(**fields))


def preset_names() -> list[str]:
    """Names of the presets that come with the package."""
    folder = resources.files("txtdiff") / "presets"
    return sorted(
        entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")
    )


def preset_layer(name: str) -> Layer:
    """The settings of a preset."""
    if name not in preset_names():
        near = suggest(name, preset_names())
        listed = f"There are {', '.join(preset_names())}."
        raise InputError(f"there is no preset '{plain(name)}'", f"{near} {listed}" if near else listed)
    return tomllib.loads((resources.files("txtdiff") / "presets" / f"{name}.toml").read_text("utf-8"))


def file_layer(path: Path) -> Layer:
    """The settings of a TOML file."""
    text = read_text(expand_home(path), "a settings file", SETTINGS_LIMIT_BYTES)
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as TOML: {error}") from error


def environment_layer(environment: Mapping[str, str] = os.environ) -> Layer:
    """Settings from variables like TXTDIFF_OPTIM__LR=1e-4; other TXTDIFF_ variables are not settings."""
    pairs = []
    for name, value in sorted(environment.items()):
        group, _, rest = name.removeprefix(_ENVIRONMENT).lower().partition("__")
        if name.startswith(_ENVIRONMENT) and rest and group in RunConfig.model_fields:
            pairs.append(f"{group}.{rest.replace('__', '.')}={value}")
    return settings_layer(pairs)


def settings_layer(pairs: Sequence[str]) -> Layer:
    """Settings from "a.b=c": c as in TOML; a bare word is text, and 1,2,4 a list."""
    layer: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        path = name.strip().split(".")
        if not equals or not all(path):
            raise InputError(f"'{plain(pair)}' is no setting", "Write group.name=value, e.g. optim.lr=1e-4.")
        _merge(layer, _nested(path, _parse_value(value.strip())))
    return layer


def config_from_toml(text: str, source: str) -> RunConfig:
    """The RunConfig that `config_to_toml` wrote.

    Args:
        source: what to call it in an error.
    """
    try:
        return validated(RunConfig, tomllib.loads(text), context=STORED)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{source} cannot be read as TOML: {error}") from error
    except InputError as error:
        raise InputError(f"{source}: {error.what}", error.remedy) from error


def config_to_toml(config: RunConfig) -> str:
    """All settings of a run, defaults included; reads back as the same RunConfig."""
    return tomli_w.dumps(plain_tree(config))


def plain_tree(group: Settings) -> dict[str, Any]:
    """Settings as TOML can hold them: nested tables of numbers, texts and lists."""
    tree: dict[str, Any] = {}
    for name, field in type(group).model_fields.items():
        value = getattr(group, name)
        if isinstance(value, Settings):
            tree[name] = plain_tree(value)
        elif value is None:
            if field.default is not None:
                tree[name] = "none"
        else:
            tree[name] = str(value) if isinstance(value, Path) else value
    return tree


def _merge(into: dict[str, Any], layer: Layer) -> None:
    for name, value in layer.items():
        if isinstance(value, Mapping):
            present = into.get(name)
            into[name] = dict(present) if isinstance(present, Mapping) else {}
            _merge(into[name], value)
        else:
            into[name] = value


def _nested(path: Sequence[str], value: object) -> dict[str, Any]:
    return {path[0]: _nested(path[1:], value) if len(path) > 1 else value}


def _parse_value(text: str) -> Any:
    for attempt in (text, f"[{text}]") if "," in text else (text,):
        try:
            parsed = tomllib.loads(f"value = {attempt}")
        except (tomllib.TOMLDecodeError, RecursionError):
            continue
        if set(parsed) == {"value"}:
            return parsed["value"]
    return text.split(",") if _WORDS.fullmatch(text) else text


def _spelled_out(tree: Mapping[str, Any], group: type[Settings]) -> dict[str, Any]:
    """Values as settings have them: "none" and an empty text are None where a setting may be unset, and one
    value is a list where a setting is one."""
    result = dict(tree)
    for name, value in tree.items():
        if name not in group.model_fields:
            continue
        choices = _choices(group.model_fields[name].annotation)
        inner = inner_group(group, name)
        if isinstance(value, Mapping) and inner:
            result[name] = _spelled_out(value, inner)
        elif value in ("none", "") and types.NoneType in choices:
            result[name] = None
        elif isinstance(value, str | int | float) and any(typing.get_origin(c) is tuple for c in choices):
            result[name] = [value] if value != "" else []
    return result


def _choices(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the annotation alone."""
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return typing.get_args(annotation)
    return (annotation,)


def inner_group(group: type[Settings], name: str) -> type[Settings] | None:
    """The group that a setting of `group` is, or None where it is a value, or unknown."""
    field = group.model_fields.get(name)
    for kind in _choices(field.annotation) if field else ():
        if isinstance(kind, type) and issubclass(kind, Settings):
            return kind
    return None


def _explain(error: ValidationError, group: type[Settings], prefix: str) -> str:
    """What is wrong, a line for each setting."""
    lines = []
    for problem in error.errors():
        path = ".".join([*([prefix] if prefix else []), *map(str, problem["loc"])])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            near = suggest(str(problem["loc"][-1]), _names_at(problem["loc"], group))
            message = f"unknown setting. {near or ''}"
        lines.append(plain(f"{path}: {message}" if path else message).strip())
    return "\n".join(lines)


def _names_at(location: tuple[int | str, ...], group: type[Settings]) -> list[str]:
    """Names of the settings in the group within `group` that `location` lies in."""
    for part in location[:-1]:
        group = inner_group(group, str(part)) or group
    return list(group.model_fields)
