"""Which timesteps a sampler visits: lists of timesteps from noisy to clean, ending in CLEAN."""

from __future__ import annotations

import re
from itertools import accumulate

from datatools.errors import InputError
from txtdiff.diffusion.schedule import CLEAN

__all__ = ["fork_double_steps", "midpoint", "parse_spacing", "respaced", "trailing_steps"]


def trailing_steps(n_train_steps: int, n_steps: int) -> tuple[int, ...]:
    """n_steps equal strides down from the noisiest timestep, then CLEAN (Lin et al. 2024, table 2).

    Starting at the noisiest timestep matters because sampling starts from pure noise; timestep 0 is left
    out because its picture is clean already. 4 of 1000: 999, 749, 499, 249, CLEAN.
    """
    if not 1 <= n_steps <= n_train_steps:
        raise InputError(
            f"{n_steps} sampling steps cannot be taken", f"Use 1 to {n_train_steps}, the steps of training."
        )
    stride = n_train_steps / n_steps
    return (*(round(n_train_steps - i * stride) - 1 for i in range(n_steps)), CLEAN)


def respaced(n_train_steps: int, spacing: str) -> tuple[int, ...]:
    """The parent project's step lists, as its flag --timestep_respacing names them, then CLEAN.

    Args:
        n_train_steps: the length of the training schedule.
        spacing: "50": 50 steps from first to last timestep, both included. "10,20,30": so many in each of
            three equal sections. "ddim50": 50 steps of one integer stride from timestep 0.
    """
    return (*reversed(parse_spacing(n_train_steps, spacing)), CLEAN)


def parse_spacing(n_train_steps: int, spacing: str) -> tuple[int, ...]:
    """As `respaced`, but rising and without CLEAN."""
    if not re.fullmatch(r"(ddim)?\d+|\d+(,\d+)+", spacing):
        raise InputError(f"timestep spacing '{spacing}' is unknown", "Write 50, 10,20,30 or ddim50.")
    if spacing.startswith("ddim"):
        return _one_stride(n_train_steps, int(spacing.removeprefix("ddim")))
    counts = [int(count) for count in spacing.split(",")]
    size, extra = divmod(n_train_steps, len(counts))
    kept: list[int] = []
    start = 0
    for section, count in enumerate(counts):
        length = size + (section < extra)
        if not 1 <= count <= length:
            raise InputError(f"spacing '{spacing}' asks for {count} of {length} timesteps", "Use fewer.")
        stride = (length - 1) / (count - 1) if count > 1 else 1.0
        # Strides are added up, not multiplied: the parent's rounding at ties (21 steps visit 499, not 500).
        kept += [start + round(offset) for offset in accumulate([stride] * (count - 1), initial=0.0)]
        start += length
    return tuple(kept)


def _one_stride(n_train_steps: int, n_steps: int) -> tuple[int, ...]:
    for stride in range(1, n_train_steps):
        kept = range(0, n_train_steps, stride)
        if len(kept) == n_steps:
            return tuple(kept)
    raise InputError(
        f"no integer stride gives {n_steps} of {n_train_steps} timesteps", "Use the spacing without 'ddim'."
    )


def fork_double_steps(kept: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The fork's lists for PRK and PLMS: every second of the kept timesteps, and those between.

    They start at the highest even position and end at the first kept timestep, without the step to CLEAN:
    so the fork sampled, and so its numbers are reached (fork_spec 7.7).

    Args:
        kept: rising timesteps, from `parse_spacing`.

    Returns:
        the nodes from noisy to clean, and the midpoint of each step.
    """
    if len(kept) < 3:
        raise InputError(f"{len(kept)} timesteps make no double step", "Use a spacing of 3 or more.")
    last = (len(kept) - 1) // 2 * 2
    return tuple(kept[last::-2]), tuple(kept[1:last:2])[::-1]


def midpoint(t: int, t_next: int) -> int:
    """The timestep halfway; above t_next whenever there is one between the two."""
    return (t + t_next + 1) // 2
