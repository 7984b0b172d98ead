"""Synthetic pictures: their text, polygons, safebox and caption are known exactly."""

from __future__ import annotations

from datatools.synth.folder import make_pictures
from datatools.synth.options import SIZES_PX, SynthOptions
from datatools.synth.picture import SynthLine, SynthPicture, make_picture
from datatools.synth.profiles import PROFILES, Profile

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
