"""Warped text: what the polygon says is where the ink went."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from datatools.synth.chance import generator_for
from datatools.synth.layout import Box
from datatools.synth.profiles import Profile
from datatools.synth.warp import draw_warp, warp_box, warp_mask

BENT = Profile(description="for tests", warped_percent=100, max_turn=0.6, max_bend=0.4, max_tilt=0.22)


def farthest_outside_px(ink: npt.NDArray[np.bool_], corners: Sequence[tuple[float, float]]) -> float:
    """How far the outermost ink lies outside a convex polygon given clockwise."""
    centres = np.argwhere(ink)[:, ::-1] + 0.5
    farthest = -np.inf
    for start, end in zip(corners, [*corners[1:], corners[0]], strict=True):
        side = np.subtract(end, start)
        outwards = np.array([side[1], -side[0]]) / np.hypot(*side)
        farthest = max(farthest, ((centres - start) @ outwards).max())
    return float(farthest)


@settings(max_examples=40, deadline=None)
@given(
    index=st.integers(0, 10_000),
    left=st.integers(4, 60),
    top=st.integers(4, 100),
    width=st.integers(12, 60),
    height=st.integers(8, 20),
)
def test_warped_ink_lies_within_the_warped_corners(
    index: int, left: int, top: int, width: int, height: int
) -> None:
    size_px = 128
    box: Box = (left, top, left + width, top + height)
    warp = draw_warp(generator_for(1, index), BENT, box, size_px)
    assert warp is not None
    mask = Image.new("L", (size_px, size_px))
    ImageDraw.Draw(mask).rectangle((left, top, left + width - 1, top + height - 1), fill=255)
    ink = np.asarray(warp_mask(warp, mask)) > 127
    corners = warp_box(warp, box)
    assert ink.sum() > 0.3 * width * height  # a tilt shrinks it, nothing cuts it off
    assert farthest_outside_px(ink, corners) < 0.75
    xs, ys = zip(*corners, strict=True)
    assert min(xs) >= 0 and max(xs) <= size_px and min(ys) >= 0 and max(ys) <= size_px


def test_text_lies_flat_unless_the_profile_warps() -> None:
    flat = Profile(description="for tests")
    assert draw_warp(generator_for(0, 0), flat, (10, 10, 50, 20), 64) is None
