"""The fork's run directories and checkpoint files, read without running what strangers put into them."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from datatools.bounded_files import read_json
from datatools.errors import InputError
from txtdiff.fork.flags import Script
from txtdiff.fork.parse import ForkFlags, parse_fork_flags
from txtdiff.model.pickled import named_tensors, read_pickled

__all__ = [
    "MODEL_FILE",
    "ForkRun",
    "find_fork_run",
    "read_config_json",
    "read_state",
    "samples_at",
]

MODEL_FILE = re.compile(r"model(\d{1,12})\.pt")
_AVERAGE = re.compile(r"ema_(0?\.\d{1,12})_(\d{1,12})\.pt")
_CONFIG_LIMIT_BYTES = 1_000_000
_LOG_LIMIT_BYTES = 1_000_000_000
_NO_FLAGS = {"is_super_res", "tokenizer_config", "tokenizer", "clipmod", "return_diffusion_factory"}


@dataclass(frozen=True, slots=True)
class ForkRun:
    """The files of one step of a fork's run.

    Attributes:
        step: its count of optimiser steps.
        model: `modelN.pt`.
        averages: rate -> `ema_<rate>_N.pt`.
    """

    step: int
    model: Path
    averages: dict[float, Path]


def find_fork_run(run_dir: Path, step: int | None = None) -> ForkRun:
    """The files of a step, or of the newest step that there is."""
    names = sorted(path.name for path in run_dir.iterdir()) if run_dir.is_dir() else []
    models = {int(m.group(1)): run_dir / m.group() for name in names if (m := MODEL_FILE.fullmatch(name))}
    if not models:
        raise InputError(
            f"{run_dir} holds no modelN.pt", "Give the folder that the fork saved its models in."
        )
    chosen = max(models) if step is None else step
    if chosen not in models:
        raise InputError(f"{run_dir} holds no model of step {chosen}", f"It has {sorted(models)}.")
    found = [m for name in names if (m := _AVERAGE.fullmatch(name))]
    averages = {float(m.group(1)): run_dir / m.group() for m in found if int(m.group(2)) == chosen}
    return ForkRun(chosen, models[chosen], averages)


def read_config_json(path: Path) -> ForkFlags:
    """The flags of the network in a `config.json` of the fork; those it lacks have their defaults."""
    config = _read_json(path)
    enlarges = config.get("is_super_res", False)
    if not isinstance(enlarges, bool):
        raise InputError(f"{path}: is_super_res is {enlarges!r}, neither true nor false")
    script: Script = "super_res_train" if enlarges else "image_train"
    tokenizer = config.get("tokenizer_config")
    flags = {name: value for name, value in config.items() if name not in _NO_FLAGS}
    if isinstance(tokenizer, dict):
        flags = {**tokenizer, **flags}
    argv = [f"--{name}={value}" for name, value in flags.items() if value is not None]
    try:
        return parse_fork_flags(argv, script)
    except InputError as error:
        raise InputError(f"{path}: {error.what}", error.remedy) from error


def _read_json(path: Path) -> dict[str, Any]:
    remedy = "The fork writes it when it is run with --config_path."
    config = read_json(path, "settings", _CONFIG_LIMIT_BYTES, remedy)
    if not isinstance(config, dict):
        raise InputError(f"{path} holds no object of settings")
    return config


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.pt` file. Nothing in it is executed, only tensors and plain containers are taken."""
    remedy = "Give a modelN.pt or ema_RATE_N.pt as the fork saved it."
    return named_tensors(read_pickled(path, "weights", remedy), path)


def samples_at(run_dir: Path, step: int) -> int | None:
    """Pictures seen up to a step, from the run's progress.csv, or None if it does not say."""
    path = run_dir / "progress.csv"
    try:
        if path.stat().st_size > _LOG_LIMIT_BYTES:
            return None
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            rows = [(row.get("step"), row.get("samples")) for row in csv.DictReader(file)]
    except (OSError, csv.Error):
        return None
    for at, samples in reversed(rows):
        try:
            # The fork logs (step + 1) * batch size.
            batch_size = round(float(samples or "") / (float(at or "") + 1))
        except (ValueError, ZeroDivisionError, OverflowError):
            continue
        return (step + 1) * batch_size if batch_size > 0 else None
    return None
