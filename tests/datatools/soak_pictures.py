"""Mutated and hostile pictures through a whole build with its workers: every one a row, no abort, no hang.

    python tests/datatools/soak_pictures.py --n 10000 --n-read 1500

Pictures cut off at each per cent, bombs of pixels and of metadata, one pixel high, CMYK, 16 bits, broken
EXIF, animations, wrong extensions, random changes of bytes for the rest. Others then go through a build with
a reader.
"""

from __future__ import annotations

import io
import random
import struct
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from memory_watch import MemoryWatch
from PIL import Image, PngImagePlugin

from datatools.build import build_catalog
from datatools.catalog import open_catalog
from datatools.config import BuildSettings
from datatools.decode import CAUSES

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP")
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))


def main(
    n: Annotated[int, typer.Option(help="Pictures.")] = 10_000,
    n_read: Annotated[int, typer.Option(help="Then so many others, which a reader reads.")] = 0,
    ocr: Annotated[str, typer.Option(help="That reader.")] = "rapidocr",
    seed: Annotated[int, typer.Option(help="Of the mutations.")] = 0,
) -> None:
    """Print rows by what became of them, and the memory of the workers."""
    soak(n, (), random.Random(seed))
    if n_read:
        print(f"\nThose that decode are read by {ocr}:\n")
        soak(n_read, (ocr,), random.Random(seed + 1))


def soak(n: int, readers: tuple[str, ...], dice: random.Random) -> None:
    """A whole build of `n` pictures; one that is no row, or a worker that dies, is an AssertionError."""
    with tempfile.TemporaryDirectory() as name:
        source, catalog = Path(name) / "in", Path(name) / "c.duckdb"
        kinds = write_pictures(source, n, dice)
        started = time.monotonic()
        settings = BuildSettings(ocr=readers, workers=2, time_limit_s=30.0)
        with MemoryWatch(every_s=0.02) as memory:
            build_catalog(source, catalog, settings)
        took_s = time.monotonic() - started
        with open_catalog(catalog) as opened:
            found = opened.arrow("SELECT key, COALESCE(cause, 'usable') AS became FROM pictures").to_pylist()
            n_readings = int(opened.value("SELECT count(*) FROM store.readings"))
    assert sorted(row["key"] for row in found) == sorted(kinds), "not every picture is one row"
    became = {row["key"]: row["became"] for row in found}
    assert set(became.values()) <= {"usable", *CAUSES}
    assert not {"crashed", "timeout", "out_of_memory"} & set(became.values()), Counter(became.values())
    assert n_readings == len(readers) * list(became.values()).count("usable"), "a usable picture was not read"
    print(f"n = {len(kinds)} in {took_s:.0f} s; a worker held {memory.worker_peak_mib} MiB at most; ", end="")
    print("none died or was late\n")
    print("| kind | n | became |\n|---|---|---|")
    for kind in dict.fromkeys(kinds.values()):
        counts = Counter(became[key] for key in kinds if kinds[key] == kind)
        print(
            f"| {kind} | {counts.total()} | {', '.join(f'{what} {m}' for what, m in counts.most_common())} |"
        )


def write_pictures(folder: Path, n: int, dice: random.Random) -> dict[str, str]:
    """The hostile ones, then mutated ones up to `n`; the kind of each by key."""
    folder.mkdir()
    kinds: dict[str, str] = {}
    for number, (kind, extension, data) in enumerate([*hostile(), *mutations(n, dice)][:n]):
        key = f"{number:06d}.{extension}"
        (folder / key).write_bytes(data)
        kinds[key] = kind
    return kinds


def hostile() -> Iterator[tuple[str, str, bytes]]:
    """(kind, extension, bytes) of every picture that was thought up."""
    yield from (("bomb of pixels", "png", data) for data in pixel_bombs())
    yield from (("bomb of metadata", "png", data) for data in metadata_bombs())
    for size in ((1, 5000), (5000, 1), (1, 1), (7, 300), (16384, 8)):
        yield "thin", "png", encoded(Image.new("RGB", size))
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        yield "other colours and depths", "png", encoded(Image.new(mode, (40, 40)))
    yield "other colours and depths", "jpg", encoded(Image.new("CMYK", (40, 40)), "JPEG")
    frames: dict[str, Any] = {"save_all": True, "append_images": [Image.new("RGB", (64, 48))] * 50}
    yield from (("animated", form.lower(), encoded(NOISE, form, **frames)) for form in ("GIF", "WEBP", "PNG"))
    for form in ("PNG", "JPEG", "WEBP"):
        for exif in (b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*" + b"\xff" * 60_000):
            yield "broken EXIF", form.lower(), encoded(NOISE, form, exif=exif)
        yield "3 MiB of ICC profile", form.lower(), encoded(NOISE, form, icc_profile=b"\xfe" * 3 * 2**20)
    for form in FORMATS:
        yield "wrong extension", "jpg" if form != "JPEG" else "gif", encoded(NOISE, form)
    for data in (
        b"",
        b"\0",
        b"<html>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"PK\x03\x04" + bytes(100),
        b"\x89PNG\r\n\x1a\n",
    ):
        yield "no picture", "png", data
    for form in FORMATS:
        data = encoded(NOISE, form)
        for percent in range(1, 100):
            yield f"cut off at each per cent, {form}", form.lower(), data[: len(data) * percent // 100]


def pixel_bombs() -> Iterator[bytes]:
    """A few bytes that announce, and some hold, hundreds of millions of pixels."""
    yield encoded(Image.new("1", (20_000, 20_000)))
    yield encoded(Image.new("L", (8_000, 7_999)))  # just within the limit
    yield encoded(Image.new("1", (30_000, 30_000)), "GIF")
    yield b"BM" + bytes(12) + (40).to_bytes(4, "little") + b"\xff\xff\xff\x7f" * 2 + bytes(60)
    yield png([(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 16, 6, 0, 0, 0)), (b"IDAT", b"x")])
    yield png([(b"IHDR", struct.pack(">IIBBBBB", 0, 0, 8, 2, 0, 0, 0)), (b"IDAT", b"")])


def metadata_bombs() -> Iterator[bytes]:
    """Text and profiles that unpack to 100 MiB, 100,000 chunks, a chunk longer than its file."""
    zeros = zlib.compress(bytes(100 * 2**20), 9)
    good = encoded(NOISE)
    for name, data in (
        (b"zTXt", b"a\0\0" + zeros),
        (b"iCCP", b"a\0\0" + zeros),
        (b"iTXt", b"a\0\1\0\0\0" + zeros),
    ):
        yield good[:33] + chunk(name, data) + good[33:]
    yield good[:33] + chunk(b"tEXt", b"a\0b") * 100_000 + good[33:]
    yield good[:33] + struct.pack(">I", 2**31 - 1) + b"tEXt" + good[33:]
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * 10 * 2**20, zip=True)
    yield encoded(NOISE, pnginfo=info)


def mutations(n: int, dice: random.Random) -> Iterator[tuple[str, str, bytes]]:
    """Bytes changed, cut out, doubled or cut off."""
    originals = {form: encoded(NOISE, form) for form in FORMATS}
    for _ in range(n):
        form = dice.choice(FORMATS)
        yield f"mutated, {form}", form.lower(), mutated(bytearray(originals[form]), dice)


def mutated(data: bytearray, dice: random.Random) -> bytes:
    for _ in range(dice.randint(1, 8)):
        at, length = dice.randrange(len(data) or 1), dice.randint(1, 40)
        change = dice.choice(["flip", "flip", "cut out", "double", "cut off"])
        if change == "flip":
            data[at : at + 1] = bytes([dice.randrange(256)])
        elif change == "cut out":
            del data[at : at + length]
        elif change == "double":
            data[at:at] = data[at : at + length]
        else:
            del data[max(at, 1) :]
    return bytes(data)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in [*chunks, (b"IEND", b"")])


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


if __name__ == "__main__":
    typer.run(main)
