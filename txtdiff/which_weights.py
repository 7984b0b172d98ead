"""Which of a checkpoint's weights are meant."""

from __future__ import annotations

from typing import Literal

from datatools.errors import InputError

__all__ = ["Weights", "parse_weights"]

Weights = Literal["averaged", "raw"] | float
"""The run's first average, the weights of the last step, or the average of this rate."""


def parse_weights(text: str) -> Weights:
    """ "averaged", "raw" or a rate.

    Raises:
        InputError: something else.
    """
    match text:
        case "averaged":
            return "averaged"
        case "raw":
            return "raw"
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"no weights '{text}'", "averaged, raw, or the rate of an average.") from error
