"""What `datatools synth` is asked for."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from datatools.errors import InputError, suggest
from datatools.synth.profiles import PROFILES

__all__ = ["MAX_PICTURES", "SIZES_PX", "Split", "SynthOptions"]

Split = Literal["train", "test-words", "test-fonts", "test"]
"""The half of the words and of the fonts that a picture draws on: `test-words` has held-out words in known
fonts, `test-fonts` known words in held-out fonts, `test` both held out."""


SIZES_PX = (32, 2048)
"""Smallest and largest picture: below, letters have no room; no model here is as large as the other."""

MAX_PICTURES = 100_000_000


class SynthOptions(BaseModel):
    """How many pictures, of what kind. Picture i depends on everything here but `n` and `write_txt`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    n: int = Field(default=400, ge=1, le=MAX_PICTURES)
    """How many pictures."""

    size_px: int = Field(default=128, ge=SIZES_PX[0], le=SIZES_PX[1])
    """Width and height of a picture."""

    seed: int = Field(default=0, ge=0)
    """The same seed makes the same pictures."""

    profile: str = "plain"
    """The kind of pictures, see PROFILES."""

    split: Literal["all", "train", "test-words", "test-fonts", "test"] = "all"
    """Which words and fonts: "all" is nine pictures in ten from the training half, the rest held out."""

    fonts_dir: str | None = None
    """A folder of .ttf and .otf files to use instead of the fonts that come with the install."""

    write_txt: bool = False
    """Also write the text of each picture into a .txt file beside it."""

    @field_validator("profile")
    @classmethod
    def _known_profile(cls, name: str) -> str:
        if name not in PROFILES:
            raise InputError(
                f"there is no profile called '{name}'",
                suggest(name, PROFILES) or f"Profiles are {', '.join(PROFILES)}.",
            )
        return name
