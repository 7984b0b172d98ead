"""What is measured while training, and metrics.jsonl, which a resumed run continues without a seam.

metrics.jsonl holds only what is a function of settings and seed, so that it can be compared byte for byte;
how fast the run was stands in speed.jsonl.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from datatools.atomic import write_bytes_atomic
from txtdiff.diffusion.losses import LossTerms

__all__ = [
    "MetricLog",
    "Overflow",
    "Totals",
    "add_grad_norm",
    "add_losses",
    "averages_of",
    "counts_no_step",
    "new_totals",
]

_SUMS = ("loss", "mse", "vb", "loss_q0", "loss_q1", "loss_q2", "loss_q3")
_FIELDS = (*_SUMS, *(f"n_{name}" for name in _SUMS), "grad_norm", "n_grad_norm", "characters", "n_characters")
_GRAD_NORM, _CHARACTERS = _FIELDS.index("grad_norm"), _FIELDS.index("characters")

Totals = Tensor
"""Sums and counts since the last line of the log, float64, on the training device: reading it would wait for
the GPU, so it is read only when a line is due."""

Overflow = Literal["left_out", "counted"]
"""What becomes of values that are not finite: fp16 skips such a step, otherwise the sums must show them."""


def new_totals(device: torch.device | str) -> Totals:
    """Nothing measured yet."""
    return torch.zeros(len(_FIELDS), dtype=torch.float64, device=device)


@torch.no_grad()
def add_losses(
    totals: Totals, terms: LossTerms, t: Tensor, n_steps: int, overflow: Overflow = "counted"
) -> None:
    """Count the losses of some pictures; q0 … q3 are the quarters of the timesteps, q0 the cleanest."""
    quarter = t * 4 // n_steps
    loss, mse = terms.loss.double(), terms.mse.double()
    vb = torch.zeros_like(loss) if terms.vb is None else terms.vb.double()
    some = torch.ones_like(loss)
    if overflow == "left_out":
        some = loss.isfinite().double()
        loss, mse, vb = (torch.where(some > 0, values, 0) for values in (loss, mse, vb))
    within = torch.stack([(quarter == q) * some for q in range(4)])
    sums = [loss.sum(), mse.sum(), vb.sum(), *(within @ loss)]
    counts = [some.sum(), some.sum(), some.sum() * (terms.vb is not None), *within.sum(1)]
    totals[: 2 * len(_SUMS)] += torch.stack([*sums, *counts])
    if terms.characters is not None:
        totals[_CHARACTERS] += torch.where(some > 0, terms.characters.double(), 0).sum()
        totals[_CHARACTERS + 1] += some.sum()


@torch.no_grad()
def add_grad_norm(totals: Totals, norm: Tensor, overflow: Overflow = "counted") -> None:
    """Count one step's gradient norm."""
    counted = norm.isfinite() if overflow == "left_out" else torch.ones_like(norm, dtype=torch.bool)
    totals[_GRAD_NORM] += torch.where(counted, norm, 0)
    totals[_GRAD_NORM + 1] += counted


def counts_no_step(totals: Totals) -> bool:
    """Whether no step was taken since the last line: fp16 left out all there were."""
    return not totals[_GRAD_NORM + 1]


def averages_of(totals: Totals) -> dict[str, float]:
    """Means of what was counted; what never occurred is left out."""
    values = dict(zip(_FIELDS, totals.tolist(), strict=True))
    names = [name for name in _FIELDS if not name.startswith("n_")]
    return {name: values[name] / values[f"n_{name}"] for name in names if values[f"n_{name}"]}


class MetricLog:
    """A JSON Lines file with an `images` field in every line.

    Args:
        path: the file.
        images: pictures seen so far; lines beyond are from a run that was killed later, and are removed.
    """

    def __init__(self, path: Path, images: int) -> None:
        self.path = path
        if path.exists():
            write_bytes_atomic(path, b"".join(_lines_until(path, images)))
        self._file = path.open("ab")

    def write(self, line: Mapping[str, Any]) -> None:
        """Append one line."""
        self._file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
        self._file.flush()

    def sync(self) -> None:
        """Return when all lines are on disk: a checkpoint must not be newer than its log."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _lines_until(path: Path, images: int) -> list[bytes]:
    kept = []
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            known = line.endswith(b"\n") and json.loads(line)["images"] <= images
        except (ValueError, KeyError, TypeError):
            known = False  # half a line: the process was killed while writing it
        if known:
            kept.append(line)
    return kept
