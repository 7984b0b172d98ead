"""Synthetic pictures: their text, polygons, safebox and caption are known exactly."""

from __future__ import annotations

from datatools.synth.folder import make_pictures
from datatools.synth.options import SynthOptions
from datatools.synth.picture import SynthLine, SynthPicture, make_picture
from datatools.synth.profiles import PROFILES, Profile

__all__ = [
    "PROFILES",
    "Profile",
    "SynthLine",
    "SynthOptions",
    "SynthPicture",
    "make_picture",
    "make_pictures",
]
