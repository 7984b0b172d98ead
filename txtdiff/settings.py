"""The base of every settings class: frozen, strict about names, documented under each field."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from datatools.home import expand_home

__all__ = ["LocalPath", "Settings"]

LocalPath = Annotated[Path, AfterValidator(expand_home)]
"""A file or folder of this machine; ~ is the user's home."""


class Settings(BaseModel):
    """A frozen group of settings. An unknown name is an error, as is a number that is not finite; a field's
    docstring is its help text."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,
    )
