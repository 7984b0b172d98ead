"""Names of classes and their numbers, for models with classes."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from datatools.bounded_files import read_json
from datatools.console import messages, plain
from datatools.errors import InputError
from txtdiff.data.config import DataConfig

__all__ = ["read_classes"]

_LIMIT_BYTES = 100_000_000


def read_classes(config: DataConfig, names: pa.ChunkedArray, n_classes: int) -> dict[str, int]:
    """Class name -> number: those of `data.class_map`, else the sorted names counted from 0 (fork_spec 2.4).

    Args:
        config: `class_map`, `class_unknown`, `drop_class`.
        names: the class name of every picture.
        n_classes: what the model knows, 0 to n_classes - 1; the last one stands for a class withheld.

    Raises:
        InputError: no such file, more classes than the model has, or the last one used though it is withheld.
    """
    if names.null_count:
        raise InputError(
            f"{names.null_count} pictures have no class: data.class_name gives NULL for them",
            "Leave them out with data.where, or write coalesce(…, 'none').",
        )
    if config.class_map is None:
        classes = {name: i for i, name in enumerate(sorted(pc.unique(names).to_pylist()))}
    else:
        classes = _read_map(config.class_map)
        n_unknown = sum(name not in classes for name in names.to_pylist())
        if n_unknown:
            messages.print(
                f"{n_unknown} of {len(names)} pictures have a class that {plain(str(config.class_map))} does "
                f"not name; theirs is {config.class_unknown}",
                markup=False,
                soft_wrap=True,
            )
    last = n_classes - 1 if config.drop_class else n_classes
    highest = max([*classes.values(), config.class_unknown if config.class_map else 0])
    if highest >= last:
        raise InputError(
            f"class {highest} is too high: the model has model.n_classes = {n_classes}"
            + (", the last of which stands for a class withheld" if config.drop_class else ""),
            "Raise model.n_classes or change the map.",
        )
    return classes


def _read_map(path: Path) -> dict[str, int]:
    found = read_json(path, "a map of classes", _LIMIT_BYTES)
    if not isinstance(found, dict) or not all(type(n) is int and n >= 0 for n in found.values()):
        raise InputError(f"{path} is no map of classes", 'Write {"cat": 0, "dog": 1}.')
    return dict(found)
