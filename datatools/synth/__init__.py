"""Synthetic pictures: their text, polygons, safebox and caption are known exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datatools.synth.options import SIZES_PX, SynthOptions
from datatools.synth.profiles import PROFILES, Profile

if TYPE_CHECKING:
    from datatools.synth.folder import make_pictures
    from datatools.synth.picture import SynthLine, SynthPicture, make_picture

__all__ = [
    "PROFILES",
    "SIZES_PX",
    "Profile",
    "SynthLine",
    "SynthOptions",
    "SynthPicture",
    "make_picture",
    "make_pictures",
]


def __getattr__(name: str) -> Any:
    """What draws, when it is asked for: settings and options must not wait for numpy and Pillow."""
    if name in ("SynthLine", "SynthPicture", "make_picture"):
        from datatools.synth import picture

        return getattr(picture, name)
    if name == "make_pictures":
        from datatools.synth.folder import make_pictures

        return make_pictures
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
