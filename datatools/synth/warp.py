"""Text that does not lie flat: turned, bent along an arc, seen at an angle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from PIL import Image

from datatools.synth.chance import between
from datatools.synth.layout import Box
from datatools.synth.profiles import Profile

__all__ = ["Warp", "draw_warp", "warp_box", "warp_mask"]

Points = npt.NDArray[np.float64]

_CELL_PX = 8  # a mask is moved in cells of this size, each a bilinear patch


@dataclass(frozen=True)
class Warp:
    """First a bend, then a homography.

    Attributes:
        bend_px: how far the ends of a line lie below its middle (above, when negative).
        middle: the x about which the bend is symmetric; half_width: where it reaches `bend_px`.
        matrix: (3, 3) homography from flat to warped pixels.
    """

    bend_px: float
    middle: float
    half_width: float
    matrix: Points

    def sag(self, x: Points) -> Points:
        """How much lower the bend puts what stands at `x`."""
        return np.asarray(self.bend_px * ((x - self.middle) / self.half_width) ** 2)


def draw_warp(rng: Generator, profile: Profile, box: Box, size_px: int) -> Warp | None:
    """A warp that keeps the text in the picture, or None for text that lies flat.

    Strength is halved until the warped text fits; then the text is moved to where it lies inside.
    """
    turn = between(rng, -1, 1) * profile.max_turn
    bend = between(rng, -1, 1) * profile.max_bend
    tilt = (between(rng, -1, 1) * profile.max_tilt, between(rng, -1, 1) * profile.max_tilt)
    if rng.integers(100) >= profile.warped_percent:
        return None
    for halvings in range(6):
        strength = 0.5**halvings
        warp = _warp(turn * strength, bend * strength, (tilt[0] * strength, tilt[1] * strength), box, size_px)
        corners = _warped_corners(warp, box)
        if np.all(np.ptp(corners, axis=0) < size_px - 4):
            return _moved_inside(warp, corners, size_px)
    return None


def warp_box(warp: Warp, box: tuple[float, float, float, float]) -> tuple[tuple[float, float], ...]:
    """Four corners around what the ink in a flat box becomes, clockwise from the text's own top left."""
    return tuple((round(float(x), 2), round(float(y), 2)) for x, y in _warped_corners(warp, box))


def warp_mask(warp: Warp, mask: Image.Image) -> Image.Image:
    """The mask with its ink moved by the warp."""
    width, height = mask.size
    xs = np.append(np.arange(0, width, _CELL_PX), width).astype(np.float64)
    ys = np.append(np.arange(0, height, _CELL_PX), height).astype(np.float64)
    grid = np.stack(np.meshgrid(xs, ys), axis=-1)
    source = _flat(warp, grid.reshape(-1, 2)).reshape(grid.shape)
    mesh = []
    for row in range(len(ys) - 1):
        for column in range(len(xs) - 1):
            target = tuple(int(v) for v in (*grid[row, column], *grid[row + 1, column + 1]))
            # Pillow wants the source's corners from the top left, counter-clockwise
            quad = [source[row, column], source[row + 1, column]]
            quad += [source[row + 1, column + 1], source[row, column + 1]]
            mesh.append((target, tuple(float(v) for point in quad for v in point)))
    return mask.transform(mask.size, Image.Transform.MESH, mesh, Image.Resampling.BICUBIC)


def _warp(turn: float, bend: float, tilt: tuple[float, float], box: Box, size_px: int) -> Warp:
    left, top, right, bottom = box
    middle = np.array([(left + right) / 2, (top + bottom) / 2])
    half_width = max(1.0, (right - left) / 2)
    # cosine and sine from the tangent of half the angle: exact arithmetic, the same on every machine
    half = turn / 2
    cosine, sine = (1 - half * half) / (1 + half * half), 2 * half / (1 + half * half)
    to_middle = np.array([[1, 0, -middle[0]], [0, 1, -middle[1]], [0, 0, 1.0]])
    turned = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1.0]])
    # over the half picture, not the half text: the horizon of a short text would lie in the picture
    near, low = tilt[0] / (size_px / 2), tilt[1] / (size_px / 2)
    tilted = np.array([[1, 0, 0], [0, 1, 0], [near, low, 1.0]])
    back = np.array([[1, 0, middle[0]], [0, 1, middle[1]], [0, 0, 1.0]])
    return Warp(bend * half_width, float(middle[0]), half_width, _product(back, tilted, turned, to_middle))


def _warped_corners(warp: Warp, box: tuple[float, float, float, float]) -> Points:
    left, top, right, bottom = box
    # the arc's lowest and highest point over the box: its ends, and its middle where that lies between
    sags = warp.sag(np.array([left, right, min(max(warp.middle, left), right)], np.float64))
    flat = [[left, top + sags.min()], [right, top + sags.min()]]
    flat += [[right, bottom + sags.max()], [left, bottom + sags.max()]]
    return _project(warp.matrix, np.array(flat, np.float64))


def _moved_inside(warp: Warp, corners: Points, size_px: int) -> Warp:
    low, high = corners.min(axis=0), corners.max(axis=0)
    shift = np.maximum(0, 2 - low) - np.maximum(0, high - (size_px - 2))
    move = np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1.0]])
    return Warp(warp.bend_px, warp.middle, warp.half_width, _product(move, warp.matrix))


def _flat(warp: Warp, points: Points) -> Points:
    """Where warped points come from."""
    flat = _project(_inverse(warp.matrix), points)
    return np.stack([flat[:, 0], flat[:, 1] - warp.sag(flat[:, 0])], axis=1)


# Products and inverses are written out: BLAS and LAPACK may sum in another order on another machine.


def _product(first: Points, *others: Points) -> Points:
    for other in others:
        first = np.asarray((first[:, :, None] * other[None]).sum(axis=1))
    return first


def _inverse(matrix: Points) -> Points:
    """The adjugate: a homography's scale does not matter."""
    a, b, c = matrix[0], matrix[1], matrix[2]
    return np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)


def _project(matrix: Points, points: Points) -> Points:
    x, y = points[:, 0], points[:, 1]
    rows = [matrix[i, 0] * x + matrix[i, 1] * y + matrix[i, 2] for i in range(3)]
    return np.stack([rows[0] / rows[2], rows[1] / rows[2]], axis=1)
