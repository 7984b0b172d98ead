"""Bytes -> pixels, or a cause."""

from __future__ import annotations

import random
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from datatools.decode import CAUSES, Limits, Rejection, decode, read_size_px

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    data = BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


def cause_of(data: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(Rejection) as rejection:
        decode(data, limits or Limits())
    return rejection.value.cause


def with_orientation(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return encoded(Image.fromarray(PIXELS), "PNG", exif=exif)


@pytest.mark.parametrize("form", ["PNG", "BMP", "GIF", "WEBP", "JPEG"])
def test_every_allowed_format_opens(form: str) -> None:
    flat = np.full((24, 40, 3), (200, 30, 90), np.uint8)
    picture = decode(encoded(Image.fromarray(flat), form))
    assert picture.shape == (24, 40, 3)
    assert picture.dtype == np.uint8
    assert np.abs(picture.astype(int) - flat).max() <= 12


def test_lossless_pixels_come_back_as_they_are() -> None:
    assert np.array_equal(decode(encoded(Image.fromarray(PIXELS))), PIXELS)


# EXIF 2.32, 4.6.4: which row and column of the stored picture is the upright one's top left.
UPRIGHT = {
    1: PIXELS,
    2: PIXELS[:, ::-1],
    3: PIXELS[::-1, ::-1],
    4: PIXELS[::-1],
    5: PIXELS.transpose(1, 0, 2),
    6: np.rot90(PIXELS, -1),
    7: PIXELS.transpose(1, 0, 2)[::-1, ::-1],
    8: np.rot90(PIXELS),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(orientation: int) -> None:
    data = with_orientation(orientation)
    assert np.array_equal(decode(data), UPRIGHT[orientation])
    height, width = UPRIGHT[orientation].shape[:2]
    assert read_size_px(data) == (width, height)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_nonsense_orientation_leaves_the_picture_as_it_is(orientation: int) -> None:
    assert np.array_equal(decode(with_orientation(orientation)), PIXELS)


def test_alpha_lies_over_white() -> None:
    rgba = np.zeros((16, 16, 4), np.uint8)
    rgba[:8, :, 3] = 255
    picture = decode(encoded(Image.fromarray(rgba)))
    assert (picture[:8] == 0).all()
    assert (picture[8:] == 255).all()


def test_a_transparent_palette_colour_is_white_too() -> None:
    image = Image.new("P", (16, 16), 3)
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    assert (decode(encoded(image, transparency=3)) == 255).all()


def test_an_animation_shows_its_first_frame() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "green")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (decode(data) == (255, 0, 0)).all()


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    deep = np.linspace(0, 65535, 16 * 16).reshape(16, 16).astype(np.uint16)
    picture = decode(encoded(Image.fromarray(deep)))
    assert np.abs(picture[..., 0].astype(float) - deep / 257).max() <= 1
    assert (picture[..., 0] == picture[..., 2]).all()


def test_cmyk_becomes_rgb() -> None:
    picture = decode(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"))
    assert picture[8, 8, 0] > 200
    assert picture[8, 8, 1:].max() < 60


BOMB = encoded(Image.new("1", (20_000, 20_000)))
HUGE_HEADER = b"BM" + (0).to_bytes(12, "little") + (40).to_bytes(4, "little") + b"\xff\xff\xff\x7f" * 2
REJECTED = {
    "empty": (b"", "empty"),
    "text": (b"just words", "unknown_format"),
    "postscript, which Pillow would give to Ghostscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "unknown_format"),
    "tiff is not on the list": (encoded(Image.new("L", (16, 16)), "TIFF"), "unknown_format"),
    "bomb of 400 million pixels": (BOMB, "too_many_pixels"),
    "one pixel high": (encoded(Image.new("L", (500, 1))), "too_small"),
    "end missing": (encoded(Image.fromarray(PIXELS))[:-400], "truncated"),
    "jpeg end missing": (encoded(Image.fromarray(PIXELS), "JPEG")[:-200], "truncated"),
}


@pytest.mark.parametrize(("data", "cause"), REJECTED.values(), ids=REJECTED.keys())
def test_what_cannot_be_used_is_rejected_with_its_cause(data: bytes, cause: str) -> None:
    assert cause_of(data) == cause


def test_limits_are_taken_before_pixels_are_decoded() -> None:
    data = encoded(Image.fromarray(PIXELS))
    assert cause_of(data, Limits(max_bytes=100)) == "too_many_bytes"
    # The header alone decides: with the pixel data cut off the cause is still the size.
    assert cause_of(data[:60], Limits(max_pixels=500)) == "too_many_pixels"
    assert cause_of(HUGE_HEADER + bytes(60)) in {"too_many_pixels", "corrupt", "truncated"}


def test_truncation_at_every_percent_is_rejected() -> None:
    for form in ("PNG", "JPEG", "WEBP", "BMP"):
        data = encoded(Image.fromarray(PIXELS), form)
        for percent in range(1, 95):
            assert cause_of(data[: len(data) * percent // 100]) in CAUSES


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_pictures_are_pixels_or_a_cause(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "BMP"]))
    broken = bytearray(encoded(Image.fromarray(PIXELS), form))
    dice = random.Random(data.draw(st.integers(0, 2**32)))
    for _ in range(dice.randint(1, 20)):
        broken[dice.randrange(len(broken))] = dice.randrange(256)
    try:
        picture = decode(bytes(broken), Limits(max_pixels=1_000_000))
    except Rejection as rejection:
        assert rejection.cause in CAUSES
        assert len(rejection.detail) <= 200
    else:
        assert picture.ndim == 3
        assert picture.shape[2] == 3
