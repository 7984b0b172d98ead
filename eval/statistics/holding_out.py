"""Real pictures split in two, for the floor of a table. Numpy alone: every command reads this."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["hold_out"]


def hold_out(
    reference: npt.NDArray[Any], n: int, seed: int = 0
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]] | None:
    """Real pictures against real ones: `n` rows drawn from the reference, and the rest of it.

    Their distance is the floor of a table whose rows have `n` pictures: nothing can be expected below it.
    None when fewer rows than `n` would be left to compare with.
    """
    if len(reference) < 2 * n:
        return None
    order = np.random.default_rng(seed).permutation(len(reference))
    return reference[np.sort(order[:n])], reference[np.sort(order[n:])]
