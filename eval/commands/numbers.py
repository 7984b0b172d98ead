"""Words of the command line -> values."""

from __future__ import annotations

from datatools.errors import InputError

__all__ = ["floats", "whole_numbers"]


def floats(text: str | None) -> tuple[float, ...] | None:
    """ "1,3" -> (1.0, 3.0); None stays None.

    Raises:
        InputError: a part is no number.
    """
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"'{text}' is no list of numbers", "Write numbers with commas: 1,3") from error


def whole_numbers(text: str | None) -> tuple[int, ...] | None:
    """ "20,50" -> (20, 50); None stays None.

    Raises:
        InputError: a part is no whole number above 0.
    """
    numbers = floats(text)
    if numbers is None:
        return None
    if any(number < 1 or number != int(number) for number in numbers):
        raise InputError(f"'{text}' is no list of whole numbers", "Write them with commas: 20,50")
    return tuple(int(number) for number in numbers)
