"""CPU time of our readers beside plain loops over the same libraries.

    python benchmarks/ocr_speed.py --n-each 8

The loops are what their documentation shows: `RapidOCR()(picture)` and
`easyocr.Reader(["en"], gpu=False).readtext(picture)`. Everyone gets one thread and takes turns picture by
picture, and CPU seconds are counted, so that a busy machine changes no ratio. Two worker processes, which is
how `build-catalog --workers 2` reads, use two cores at least as well as one loop with two threads does: on
two cores the ratio of wall times is no smaller.
"""

from __future__ import annotations

import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from harness import ratio, table
from ocr_pictures import SIZES_PX, Mistakes, error_rate, mistakes, paired_difference, pictures_with_text

from datatools.console import progress
from datatools.ocr import TextLine, open_engine
from datatools.ocr.engine import Picture

Read = Callable[[Picture], list[TextLine]]
PAIRS = {
    ("rapidocr", "RapidOCR() loop"): 2.5,
    ("rapidocr", "easyocr loop"): 5.0,
    ("easyocr", "easyocr loop"): 1.8,
}
"""Who is compared with whom, and how many times as fast it should be."""


def main(
    n_each: Annotated[int, typer.Option(help="Pictures of each size and profile.")] = 8,
    library: Annotated[list[str], typer.Option(help="Which libraries.")] = ["rapidocr", "easyocr"],  # noqa: B006
) -> None:
    """Print milliseconds, ratios and error rates."""
    pictures = pictures_with_text(n_each)
    readers: dict[str, Read] = {}
    if "rapidocr" in library:
        readers |= {"rapidocr": ours("rapidocr"), "RapidOCR() loop": rapidocr_loop()}
    if "easyocr" in library:
        readers |= {"easyocr": ours("easyocr"), "easyocr loop": easyocr_loop()}
    for read in readers.values():
        read(pictures[0][1].image)
    cpu_s: dict[str, list[float]] = defaultdict(list)
    found: dict[str, list[Mistakes]] = defaultdict(list)
    with progress("reading pictures", len(pictures)) as advance:
        for _, picture in pictures:
            for name, read in readers.items():
                started = time.process_time()
                lines = read(picture.image)
                cpu_s[name].append(time.process_time() - started)
                found[name].append(mistakes(picture, lines))
            advance()
    sizes = np.array([size for size, _ in pictures])
    print_tables({name: np.array(spent) for name, spent in cpu_s.items()}, found, sizes)


def print_tables(
    cpu_s: dict[str, npt.NDArray[np.float64]], found: dict[str, list[Mistakes]], sizes: npt.NDArray[np.int64]
) -> None:
    """CPU milliseconds a picture and CER of each reader, then how many times as fast ours are."""
    print(f"n = {len(sizes)}, {len(sizes) // len(SIZES_PX)} of each size; 95 % intervals over pictures\n")
    columns = [f"{size} px" for size in SIZES_PX]
    times = [
        [name, *(f"{1000 * spent[sizes == size].mean():.0f}" for size in SIZES_PX), error_rate(found[name])]
        for name, spent in cpu_s.items()
    ]
    print(table(["CPU ms a picture", *columns, "CER %"], times), end="\n\n")
    ratios = []
    for (name, loop), target in PAIRS.items():
        if {name, loop} <= {*cpu_s}:
            cells = [ratio(cpu_s[loop][sizes == size], cpu_s[name][sizes == size]) for size in SIZES_PX]
            difference = paired_difference(found[name], found[loop])
            ratios.append([f"{name} / {loop}", *cells, ratio(cpu_s[loop], cpu_s[name]), target, difference])
    print(table(["times as fast", *columns, "all", "target", "CER, points"], ratios))


def ours(name: str) -> Read:
    """One of our readers."""
    reader = open_engine(name)
    return lambda picture: reader.read([picture])[0]


def rapidocr_loop() -> Read:
    """RapidOCR as it comes, but for the number of threads and its messages."""
    from rapidocr import RapidOCR

    threads = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}
    reader = RapidOCR(params={"Global.log_level": "error", **threads})

    def read(picture: Picture) -> list[TextLine]:
        found = reader(picture[:, :, ::-1])
        boxes = [] if found.boxes is None else zip(found.boxes, found.txts, found.scores, strict=True)
        return [line(*one) for one in boxes]

    return read


def easyocr_loop() -> Read:
    """EasyOCR as it comes, but for the number of threads and where its weights lie."""
    import easyocr
    import easyocr_en_models
    import torch

    warnings.filterwarnings("ignore", message=".*pin_memory.*")  # one a picture
    folder = easyocr_en_models.model_dir()
    reader = easyocr.Reader(["en"], gpu=False, model_storage_directory=folder, verbose=False)
    torch.set_num_threads(1)
    return lambda picture: [line(*found) for found in reader.readtext(picture)]


def line(corners: Any, text: str, confidence: float) -> TextLine:
    """A library's answer as a text line."""
    return TextLine(tuple((float(x), float(y)) for x, y in corners), text, float(confidence))


if __name__ == "__main__":
    typer.run(main)
