"""For tests: pictures that carry their text in their pixels, and a reader that finds it there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datatools.ocr import Polygon, TextLine
from eval.generators import Made
from eval.reading.pictures import read_pictures
from eval.reading.protocol import Protocol
from eval.run import Plan, make_pictures, start_run, write_plan
from eval.store import Store
from eval.suites import Cell, Suite, SuitePrompt, cells_of
from eval.sweep import Setting, make_setting

SIZE_PX = 32


def hide(text: str, salt: int = 0) -> npt.NDArray[np.uint8]:
    """A picture (32, 32, 3) whose first bytes are the text."""
    picture = np.full(SIZE_PX * SIZE_PX * 3, 200 - salt % 50, np.uint8)
    data = text.encode()
    picture[:2] = divmod(len(data), 256)
    picture[2 : 2 + len(data)] = np.frombuffer(data, np.uint8)
    return picture.reshape(SIZE_PX, SIZE_PX, 3)


@dataclass
class Writer:
    """Writes what `spell` makes of each cell; None makes the cell fail."""

    spell: Callable[[Cell], str | None]
    batch_size: int = 3
    n_made: int = 0

    def make(self, setting: Setting, cells: Sequence[Cell]) -> list[Made]:
        self.n_made += len(cells)
        return [self._made(cell) for cell in cells]

    def _made(self, cell: Cell) -> Made:
        text = self.spell(cell)
        if text is None:
            return Made(cell, None, "refused")
        return Made(cell, hide(text, cell.seed), seconds=0.5, n_evaluations=7, device="a quick hand")


class SlowWriter(Writer):
    """Takes 20 ms a batch, so that kills come everywhere."""

    def make(self, setting: Setting, cells: Sequence[Cell]) -> list[Made]:
        time.sleep(0.02)
        return super().make(setting, cells)


@dataclass(frozen=True)
class SlowPart:
    """Part of a spread sweep that slow writers make; workers import it from here."""

    plan: Plan
    trained_on: None = None

    def generator(self, device: str, batch_size: int) -> SlowWriter:
        return SlowWriter(right, batch_size)


class DryWriter(Writer):
    """Raises where `spell` gives no text, as a model may."""

    def _made(self, cell: Cell) -> Made:
        made = super()._made(cell)
        if made.picture is None:
            raise ValueError("the paint is dry")
        return made


@dataclass(frozen=True)
class DryPart:
    """Part of a sweep whose generator raises at two of its texts; workers import it from here."""

    plan: Plan
    trained_on: None = None

    def generator(self, device: str, batch_size: int) -> DryWriter:
        return DryWriter(lambda cell: None if cell.prompt.id in ("p1", "p3") else "x", batch_size)


class Finder:
    """Reads what `hide` hid, one line per line of text, from top to bottom."""

    name = "finder"
    version = "1"
    weights_digest = "none"
    settings: Mapping[str, Any] = {}

    def __init__(self) -> None:
        self.n_read = 0

    def read(self, pictures: Sequence[npt.NDArray[np.uint8]]) -> list[list[TextLine]]:
        self.n_read += len(pictures)
        return [self._lines(picture.reshape(-1)) for picture in pictures]

    def read_regions(
        self, pictures: Sequence[npt.NDArray[np.uint8]], regions: Sequence[Sequence[Polygon]]
    ) -> list[list[TextLine]]:
        """The i-th line of the text in the i-th region."""
        found = []
        for lines, those in zip(self.read(pictures), regions, strict=True):
            texts = [line.text for line in lines] + [""] * len(those)
            found.append([TextLine(region, text, 0.9) for region, text in zip(those, texts, strict=False)])
        return found

    def _lines(self, data: npt.NDArray[np.uint8]) -> list[TextLine]:
        text = data[2 : 2 + int(data[0]) * 256 + int(data[1])].tobytes().decode()
        corners = ((1.0, 0.0), (30.0, 0.0), (30.0, 5.0), (1.0, 5.0))
        return [
            TextLine(tuple((x, y + 8.0 * i) for x, y in corners), line, 0.9)
            for i, line in enumerate(text.split("\n"))
            if line
        ]


def small_suite(n: int = 6, repeats: int = 1) -> Suite:
    """Prompts "word 0", "word 1", …, and a last one that asks for no text."""
    prompts = [SuitePrompt(f"p{i}", "words", f"Word {i}\nline", f"picture {i}") for i in range(n - 1)]
    return Suite("small", 1, "0" * 64, repeats, (*prompts, SuitePrompt("none", "empty", "", "a wall")))


def fill(
    store: Store, spellings: Mapping[str, Callable[[Cell], str | None]], suite: Suite | None = None
) -> tuple[Plan, Protocol]:
    """Run, read and score one setting per spelling."""
    from eval.scoring.steps import score_again  # torch and open_clip, which a killed sweep need not wait for

    suite = suite or small_suite()
    settings = [make_setting({"generator": "test", "name": name}, name) for name in spellings]
    plan = Plan(suite, cells_of(suite), settings, run_id="r")
    start_run(store, plan, {"command": ["test"]})
    for setting in settings:
        one = Plan(suite, plan.cells, [setting], run_id="r")
        write_plan(store, one)
        make_pictures(store, one, Writer(spellings[setting.label]))
    ids = [setting.id for setting in settings]
    protocol = Protocol(read_pictures(store, Finder(), ids))
    score_again(store, ids, protocol)
    return plan, protocol


def right(cell: Cell) -> str:
    """Spells every text."""
    return cell.prompt.txt


def wrong(cell: Cell) -> str:
    """Spells nothing right."""
    return "zzz"


def half(cell: Cell) -> str:
    """Spells every other text."""
    return cell.prompt.txt if cell.seed % 2 else "zzz"


def store_path(folder: Path) -> Path:
    """Where tests keep a store."""
    return folder / "eval.duckdb"
