"""From the name of a reader to the reader itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from datatools.errors import InputError, suggest
from datatools.ocr.engine import OcrEngine, Openable

__all__ = ["ENGINES", "check_reader", "find_engine", "make_ready", "open_engine"]


def open_engine(name: str, **settings: Any) -> OcrEngine:
    """Load a reader with its weights: `find_engine`, then `make_ready`; arguments and errors are theirs."""
    engine = find_engine(name, **settings)
    make_ready(engine)
    return engine


def make_ready(engine: OcrEngine) -> None:
    """Load the networks of a reader that was found and not opened; any other is ready.

    Raises:
        InputError: one of its libraries does not load.
    """
    if not isinstance(engine, Openable):
        return
    try:
        engine.open()
    except (ImportError, OSError) as error:
        raise _cannot_open(engine.name, error) from error


def find_engine(name: str, **settings: Any) -> OcrEngine:
    """A reader that knows its version and weights. RapidOCR's networks are loaded when it first reads.

    Args:
        name: "rapidocr" (PP-OCRv6, bundled weights, the best reader measured), "easyocr" or "tesseract".
        settings: fields of that reader's settings class, e.g. `enlarge={"short_side_px": 512}`.

    Raises:
        InputError: no such reader, no such setting, or its package or weights are missing; the message
            says which package or path would provide them.
    """
    check_reader(name)
    try:
        return ENGINES[name](settings)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InputError(f"settings of the reader '{name}' cannot be used: {faults}") from error
    except (ImportError, OSError) as error:  # a package, or a system library that one of them links to
        raise _cannot_open(name, error) from error


def check_reader(name: str) -> None:
    """Nothing, where there is a reader of that name.

    Raises:
        InputError: there is none; says which there are.
    """
    if name not in ENGINES:
        raise InputError(
            f"there is no reader called '{name}'",
            suggest(name, ENGINES) or f"Readers are {', '.join(ENGINES)}.",
        )


def _cannot_open(name: str, error: Exception) -> InputError:
    return InputError(f"the reader '{name}' cannot be opened: {error}", _REMEDIES[name])


# Imports wait until a reader is asked for: easyocr alone brings torch, seconds that others need not pay.
def _rapidocr(settings: dict[str, Any]) -> OcrEngine:
    from datatools.ocr.rapidocr import RapidOcrEngine, RapidOcrSettings

    return RapidOcrEngine(RapidOcrSettings(**settings))


def _easyocr(settings: dict[str, Any]) -> OcrEngine:
    from datatools.ocr.easyocr import EasyOcrEngine, EasyOcrSettings

    return EasyOcrEngine(EasyOcrSettings(**settings))


def _tesseract(settings: dict[str, Any]) -> OcrEngine:
    from datatools.ocr.tesseract import TesseractEngine, TesseractSettings

    return TesseractEngine(TesseractSettings(**settings))


ENGINES: dict[str, Callable[[dict[str, Any]], OcrEngine]] = {
    "rapidocr": _rapidocr,
    "easyocr": _easyocr,
    "tesseract": _tesseract,
}
"""Every reader by name, in order of preference."""

# OpenCV's usual wheel links to the window system's libGL, which servers and containers lack.
_NO_LIBGL = (
    "if it names libGL, install the package libgl1 or put opencv-python-headless in opencv-python's place"
)
_REMEDIES = {
    "rapidocr": f"pip install --force-reinstall rapidocr onnxruntime; {_NO_LIBGL}.",
    "easyocr": f"pip install --force-reinstall easyocr; {_NO_LIBGL}.",
    "tesseract": "Install the program tesseract again (package tesseract-ocr).",
}
