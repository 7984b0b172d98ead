"""The course of the loss as a picture, drawn from metrics.jsonl."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw

from datatools.atomic import write_bytes_atomic

__all__ = ["draw_loss_curve"]

_WIDTH, _HEIGHT = 900, 500
_LEFT, _TOP, _RIGHT, _BOTTOM = 70, 40, 880, 460
_LINES = {
    "loss": ("#000000", 3),
    "loss_q0": ("#0072b2", 1),
    "loss_q1": ("#009e73", 1),
    "loss_q2": ("#e69f00", 1),
    "loss_q3": ("#d55e00", 1),
}
"""Colours of Okabe and Ito, which colour-blind readers tell apart."""


def draw_loss_curve(metrics: Path, picture: Path) -> None:
    """Draw the loss and its four quarters of timesteps (q0: the cleanest pictures) over images seen."""
    lines = [json.loads(line) for line in metrics.read_text("utf-8").splitlines()]
    curves = {
        name: [(line["images"], line[name]) for line in lines if name in line and line[name] > 0]
        for name in _LINES
    }
    points = [point for curve in curves.values() for point in curve if math.isfinite(point[1])]
    if len(points) < 2:
        return
    image = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    last = max(x for x, _ in points)
    low, high = (f(math.log10(y) for _, y in points) for f in (min, max))
    low, high = low - 0.05, high + 0.05
    _draw_axes(draw, last, low, high)
    for name, curve in curves.items():
        colour, width = _LINES[name]
        places = [
            _place(x / last, (math.log10(y) - low) / (high - low)) for x, y in curve if math.isfinite(y)
        ]
        if len(places) > 1:
            draw.line(places, fill=colour, width=width, joint="curve")
    buffer = BytesIO()
    image.save(buffer, "PNG")
    write_bytes_atomic(picture, buffer.getvalue())


def _place(x: float, y: float) -> tuple[float, float]:
    """Fractions of the axes to pixels."""
    return _LEFT + x * (_RIGHT - _LEFT), _BOTTOM - y * (_BOTTOM - _TOP)


def _draw_axes(draw: ImageDraw.ImageDraw, last: int, low: float, high: float) -> None:
    draw.rectangle((_LEFT, _TOP, _RIGHT, _BOTTOM), outline="#888888")
    for value in _ticks(10**low, 10**high):
        x, y = _place(0, (math.log10(value) - low) / (high - low))
        draw.line((x, y, _RIGHT, y), fill="#dddddd")
        draw.text((x - 8, y), f"{value:g}", fill="#444444", anchor="rm")
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = _place(share, 0)
        draw.text((x, y + 8), f"{share * last:,.0f}", fill="#444444", anchor="mt")
    draw.text(((_LEFT + _RIGHT) / 2, _HEIGHT - 14), "images", fill="#444444", anchor="mm")
    for i, (name, (colour, _)) in enumerate(_LINES.items()):
        draw.text((_LEFT + 90 * i, _TOP - 14), f"- {name}", fill=colour, anchor="lm")


def _ticks(low: float, high: float) -> Sequence[float]:
    """1, 2 and 5 times powers of ten between `low` and `high`."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [m * 10.0**p for p in powers for m in (1, 2, 5) if low <= m * 10.0**p <= high]
