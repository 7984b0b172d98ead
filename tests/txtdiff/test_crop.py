"""Crops keep the text whole and follow the fork's law (fork_spec 3.3), checked against its rejection loop."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from txtdiff.data.crop import Box, borrowed, random_square, safebox_square, square_around


@st.composite
def pictures_with_safebox(draw: st.DrawFn) -> tuple[tuple[int, int], Box]:
    width, height = draw(st.integers(16, 400)), draw(st.integers(16, 400))
    left, top = draw(st.floats(0, width - 1)), draw(st.floats(0, height - 1))
    right, bottom = draw(st.floats(left + 0.5, width)), draw(st.floats(top + 0.5, height))
    return (width, height), Box(left, top, right, bottom)


@given(
    pictures_with_safebox(),
    st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)).map(sorted),
    st.integers(8, 128),
    st.floats(0.5, 4),
    st.integers(0, 2**32),
)
def test_a_crop_is_a_square_that_holds_the_safebox(
    given_picture: tuple[tuple[int, int], Box], area: list[float], resolution: int, scale: float, seed: int
) -> None:
    size, safebox = given_picture
    crop = safebox_square(
        size,
        safebox,
        (area[0], area[1]),
        resolution_px=resolution,
        px_scale=scale,
        rng=np.random.default_rng(seed),
    )
    if crop is None:
        return
    tolerance = 1e-9 * max(size)
    assert abs(crop.width - crop.height) < 1e-6
    assert crop.left <= safebox.left + tolerance and crop.top <= safebox.top + tolerance
    assert crop.right >= safebox.right - tolerance and crop.bottom >= safebox.bottom - tolerance
    assert crop.left >= -tolerance and crop.top >= -tolerance
    assert crop.right <= size[0] + tolerance and crop.bottom <= size[1] + tolerance
    # Never smaller than the model's pictures, and never enlarging the original beyond 1:1.
    assert crop.width >= min(resolution, *size) - 1e-6
    assert scale <= 1 or crop.width >= min(resolution * scale, *size) - 1e-6


def fork_crop(
    size: tuple[int, int], box: Box, area: tuple[float, float], resolution: int, rng: np.random.Generator
) -> Box | None:
    """The fork's procedure as fork_spec 3.3 words it, rejection loop included."""
    width, height = size
    largest = min(size)
    p = max(box.width, box.height, min(largest, resolution))
    low = max(area[0], p**2 / largest**2)
    edge = (largest**2 * (low + rng.random() * (area[1] - low))) ** 0.5
    if edge <= p or edge >= largest or p >= largest:
        return None
    corner = []
    for low_edge, high_edge, limit in ((box.left, box.right, width), (box.top, box.bottom, height)):
        while True:
            if rng.random() < 0.5:
                start = rng.uniform(0, low_edge)
                accepted = high_edge <= start + edge <= limit
            else:
                start = rng.uniform(high_edge, limit) - edge
                accepted = 0 <= start <= low_edge
            if accepted:
                corner.append(start)
                break
    return Box(corner[0], corner[1], corner[0] + edge, corner[1] + edge)


def test_the_closed_form_has_the_forks_distribution() -> None:
    size, box, area = (200, 150), Box(60, 40, 110, 70), (0.2, 1.0)
    rng = np.random.default_rng(0)
    ours = [safebox_square(size, box, area, resolution_px=32, px_scale=1, rng=rng) for _ in range(4000)]
    forks = [fork_crop(size, box, area, 32, rng) for _ in range(4000)]
    ours_kept, forks_kept = ([crop for crop in crops if crop is not None] for crops in (ours, forks))
    assert abs(len(ours_kept) - len(forks_kept)) < 4 * 4000**0.5
    for edge in range(4):
        a, b = np.sort([crop[edge] for crop in ours_kept]), np.sort([crop[edge] for crop in forks_kept])
        grid = np.concatenate([a, b])
        gap = np.abs(np.searchsorted(a, grid) / len(a) - np.searchsorted(b, grid) / len(b)).max()
        assert gap < 2.2 * (1 / len(a) + 1 / len(b)) ** 0.5  # two-sample Kolmogorov-Smirnov, level 1e-4


def test_no_square_around_a_box_that_is_too_wide() -> None:
    assert square_around((200, 100), Box(10, 10, 150, 30), 100, np.random.default_rng(0)) is None


@given(
    st.tuples(st.integers(4, 300), st.integers(4, 300)),
    st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(sorted),
    st.integers(0, 2**32),
)
def test_random_squares_lie_inside(size: tuple[int, int], area: list[float], seed: int) -> None:
    crop = random_square(size, (area[0], area[1]), np.random.default_rng(seed))
    assert crop.left >= 0 and crop.top >= 0 and crop.right <= size[0] and crop.bottom <= size[1]
    assert crop.width == crop.height
    if area[0] * size[0] * size[1] <= min(size) ** 2:  # then the area is the one asked for, up to rounding
        assert area[0] * size[0] * size[1] <= (crop.width + 1) ** 2
        assert (crop.width - 1) ** 2 <= area[1] * size[0] * size[1]


def test_random_squares_are_uniform_in_area_and_place() -> None:
    rng = np.random.default_rng(1)
    crops = [random_square((300, 300), (0.25, 1.0), rng) for _ in range(4000)]
    areas = np.sort([crop.width**2 / 300**2 for crop in crops])
    expected = 0.25 + 0.75 * (np.arange(4000) + 0.5) / 4000
    assert np.abs(areas - expected).max() < 0.03
    middles = np.array([(crop.left + crop.right) / 2 for crop in crops])
    assert abs(middles.mean() - 150) < 2


def test_a_borrowed_box_keeps_its_relative_place() -> None:
    assert borrowed(Box(10, 20, 30, 40), (100, 100), (200, 50)) == Box(20, 10, 60, 20)
