"""What `datatools synth` is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from datatools.errors import InputError, suggest
from datatools.synth.profiles import PROFILES

__all__ = ["MAX_PICTURES", "SIZES_PX", "Split", "SynthOptions"]

Split = Literal["train", "test-words", "test-fonts", "test"]
"""The half of the words and of the fonts that a picture draws on: `test-words` has held-out words in known
fonts, `test-fonts` known words in held-out fonts, `test` both held out."""


SIZES_PX = (32, 2048)
"""Smallest and largest picture: below, letters have no room; no model here is as large as the other."""

MAX_PICTURES = 100_000_000


@dataclass(frozen=True, kw_only=True)
class SynthOptions:
    """How many pictures, of what kind. Picture i depends on everything here but `n` and `write_txt`.

    Raises:
        InputError: a value out of its range, or no profile of that name.
    """

    n: int = 400
    """How many pictures."""
    size_px: int = 128
    """Width and height of a picture."""
    seed: int = 0
    """The same seed makes the same pictures."""
    profile: str = "plain"
    """The kind of pictures, see PROFILES."""
    split: Literal["all"] | Split = "all"
    """Which words and fonts: "all" is nine pictures in ten from the training half, the rest held out."""
    fonts_dir: str | None = None
    """A folder of .ttf and .otf files to use instead of the fonts that come with the install."""
    write_txt: bool = False
    """Also write the text of each picture into a .txt file beside it."""

    def __post_init__(self) -> None:
        if self.split not in (splits := ("all", *get_args(Split))):
            raise InputError(f"there is no split called '{self.split}'", f"Splits are {', '.join(splits)}.")
        if self.profile not in PROFILES:
            raise InputError(
                f"there is no profile called '{self.profile}'",
                suggest(self.profile, PROFILES) or f"Profiles are {', '.join(PROFILES)}.",
            )
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value < least or (most is not None and value > most):
                limit = f"at least {least}" if most is None else f"from {least} to {most}"
                raise InputError(f"{name} = {value} cannot be used", f"It must be {limit}.")


_RANGES: Mapping[str, tuple[int, int | None]] = {
    "n": (1, MAX_PICTURES),
    "size_px": SIZES_PX,
    "seed": (0, None),
}
