"""A folder of synthetic pictures with its captions and its truth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from PIL import Image

from datatools.atomic import atomic_open
from datatools.console import progress
from datatools.errors import InputError
from datatools.synth.options import SynthOptions
from datatools.synth.picture import SynthPicture, make_picture

__all__ = ["CAPTIONS", "TRUTH", "key_of", "make_pictures", "truth_of"]

CAPTIONS = "captions.jsonl"
TRUTH = "truth.jsonl"


def make_pictures(out: Path, options: SynthOptions, n_workers: int = 1) -> int:
    """Write `options.n` pictures as PNG, a thousand to a folder, with captions.jsonl and truth.jsonl.

    Pictures of an earlier call are written over; both files appear when all pictures are there.

    Args:
        out: the folder, made when it is not there.
        options: what to make.
        n_workers: processes to share the work; what comes out is the same.

    Returns:
        how many pictures were made.

    Raises:
        InputError: `out` is a file, or holds something that no earlier call of this function made.
    """
    _refuse_strangers(out, options.n)
    with ExitStack() as stack:
        captions = stack.enter_context(atomic_open(out / CAPTIONS))
        truth = stack.enter_context(atomic_open(out / TRUTH))
        advance = stack.enter_context(progress("making pictures", options.n))
        for rows in stack.enter_context(_rows(out, options, n_workers)):
            for caption, fact in rows:
                captions.write(caption)
                truth.write(fact)
            advance(len(rows))
    return options.n


def key_of(index: int) -> str:
    """The path of picture `index` below the folder: it depends on the number alone."""
    return f"{index // 1000:03d}/{index:06d}.png"


def truth_of(picture: SynthPicture) -> dict[str, Any]:
    """What truth.jsonl says of a picture."""
    return {
        "text": picture.text,
        "lines": [{"text": line.text, "polygon": line.polygon} for line in picture.lines],
        "safebox": picture.safebox,
        "font": picture.font,
        "profile": picture.profile,
        "split": picture.split,
        **picture.facts,
    }


_Rows = list[tuple[bytes, bytes]]  # a line of captions.jsonl and one of truth.jsonl for each picture

_CHUNK = 50  # pictures a worker makes between two reports


@contextmanager
def _rows(out: Path, options: SynthOptions, n_workers: int) -> Iterator[Iterator[_Rows]]:
    """Make the pictures, and hand over their lines chunk by chunk in the order of their numbers."""
    chunks = [range(start, min(start + _CHUNK, options.n)) for start in range(0, options.n, _CHUNK)]
    make = partial(_make_chunk, out, options)
    if n_workers == 1:
        yield map(make, chunks)
        return
    # spawned, not forked: a fork copies the locks that threads of other libraries hold
    with ProcessPoolExecutor(n_workers, mp_context=get_context("spawn")) as pool:
        try:
            yield pool.map(make, chunks)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _make_chunk(out: Path, options: SynthOptions, indices: range) -> _Rows:
    return [_make_one(out, options, index) for index in indices]


def _make_one(out: Path, options: SynthOptions, index: int) -> tuple[bytes, bytes]:
    picture = make_picture(options, index)
    key = key_of(index)
    path = out / key
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.image).save(path)
    if options.write_txt:
        path.with_suffix(".txt").write_text(picture.text, "utf-8", newline="\n")
    caption = {"key": key, "captions": list(picture.captions)}
    return _json_line(caption), _json_line({"key": key, **truth_of(picture)})


def _json_line(row: dict[str, Any]) -> bytes:
    return (json.dumps(row, ensure_ascii=False) + "\n").encode()


def _refuse_strangers(out: Path, n: int) -> None:
    """Pictures of someone else, or more of ours than will be made, would end up in the catalog unnoticed."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file", "Give the folder that the pictures should go to.")
    ours = {key_of(index) for index in range(n)}
    for path in sorted(out.rglob("*.png")) if out.is_dir() else ():
        key = path.relative_to(out).as_posix()
        if key not in ours:
            raise InputError(
                f"{out} holds pictures that would not be among the {n} new ones, {key} for one",
                "Choose an empty folder, or remove what is in this one.",
            )
