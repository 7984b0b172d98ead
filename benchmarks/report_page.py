"""A report of a large sweep: seconds to make the page, its size, and how soon it can be used in a browser.

The store is made up: 50 settings on 1,000 prompts, their pictures small gradients, their readings the texts
with letters exchanged. Everything from the store to the page, and the page itself, is what a user gets.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from harness import table
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/eval")]

from browser import Browser  # noqa: E402
from required_tools import require_tool  # noqa: E402

from datatools.ocr import TextLine  # noqa: E402
from eval.generators import Made  # noqa: E402
from eval.leaderboard import load_board  # noqa: E402
from eval.protocol import Protocol  # noqa: E402
from eval.reading import read_pictures  # noqa: E402
from eval.report.page import render_page  # noqa: E402
from eval.run import Plan, make_pictures, start_run, write_plan  # noqa: E402
from eval.scoring import score_again  # noqa: E402
from eval.store import open_store  # noqa: E402
from eval.suite import Cell, Suite, SuitePrompt, cells_of  # noqa: E402
from eval.sweep import Setting, make_setting  # noqa: E402

N_SHOWN = 200  # prompts; pages of few settings show more of each
SAMPLERS = ("ddim", "plms", "dpmpp_2m", "unipc", "heun")
READY = "document.querySelector('table.board tbody tr') !== null"


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as folder:
        store, page = Path(folder) / "eval.duckdb", Path(folder) / "report.html"
        fill(store, options.settings, options.prompts)
        started, cpu = time.perf_counter(), time.process_time()
        with open_store(store) as opened:
            board = load_board(opened)
        page.write_text(render_page(board), encoding="utf-8")
        made_s, made_cpu_s = time.perf_counter() - started, time.process_time() - cpu
        seconds = sorted(open_page(page) for _ in range(options.rounds))
        rows = [
            ("page made", f"{made_s:.1f} s ({made_cpu_s:.1f} CPU-s)", "10 s"),
            ("its size", f"{page.stat().st_size / 1e6:.1f} MB", "20 MB"),
            (
                "first row can be clicked",
                f"{seconds[len(seconds) // 2]:.2f} s ({seconds[0]:.2f}-{seconds[-1]:.2f})",
                "1 s",
            ),
        ]
    n = f"{options.settings} settings x {options.prompts} samples"
    print(table([n, f"measured (page opened {options.rounds} times)", "target"], rows))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=int, default=50)
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    return parser.parse_args()


class Painter:
    """A noisy gradient for each cell that a page can show, else one colour; its text in a corner."""

    def __init__(self, skill: float) -> None:
        self.skill = skill

    def make(self, setting: Setting, cells: list[Cell]):  # type: ignore[no-untyped-def]
        for start in range(0, len(cells), 64):
            yield [
                Made(cell, self._paint(cell), seconds=0.4, n_evaluations=20)
                for cell in cells[start : start + 64]
            ]

    def _paint(self, cell: Cell) -> np.ndarray:
        random = np.random.default_rng([cell.seed, int(1000 * self.skill)])
        coarse = random.integers(0, 256, (3, 3, 3), dtype=np.uint8)
        picture = np.array(Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC))
        if int(cell.prompt.id[1:]) < N_SHOWN:
            picture += random.integers(0, 12, picture.shape, dtype=np.uint8)
        else:
            picture[:] = coarse[0, 0]
        text = "".join(c if random.random() < self.skill else "x" for c in cell.prompt.txt).encode()
        picture.reshape(-1)[: len(text) + 1] = [len(text), *text]
        return picture


class Finder:
    """Reads what `Painter` left in the corner."""

    name, version, weights_digest, settings = "finder", "1", "none", {}

    def read(self, pictures: list[np.ndarray]) -> list[list[TextLine]]:
        box = ((8.0, 20.0), (56.0, 20.0), (56.0, 40.0), (8.0, 40.0))
        flat = [picture.reshape(-1) for picture in pictures]
        return [[TextLine(box, bytes(p[1 : 1 + p[0]]).decode(), 0.9)] for p in flat]


def fill(path: Path, n_settings: int, n_prompts: int) -> None:
    suite = Suite("made", 1, "0" * 64, 1, tuple(prompts(n_prompts)))
    settings = [
        make_setting(
            {
                "generator": "made",
                "sampler": SAMPLERS[i % 5],
                "n_steps": 10 * (1 + i // 5 % 5),
                "guidance_txt": 1.0 + i // 25,
            },
            f"{SAMPLERS[i % 5]}:{10 * (1 + i // 5 % 5)} s={1 + i // 25}",
        )
        for i in range(n_settings)
    ]
    with open_store(path, "write") as store:
        start_run(store, Plan(suite, cells_of(suite), settings, run_id="r"), {"command": ["benchmark"]})
        for i, setting in enumerate(settings):
            plan = Plan(suite, cells_of(suite), [setting], run_id="r")
            write_plan(store, plan)
            make_pictures(store, plan, Painter(0.7 + 0.3 * i / n_settings))
        ids = [setting.id for setting in settings]
        score_again(store, ids, Protocol(read_pictures(store, Finder(), ids)))


def prompts(n: int) -> list[SuitePrompt]:
    random = np.random.default_rng(0)
    letters = np.array(list("abcdefghiklmnoprstuw"))
    texts = ["".join(random.choice(letters, random.integers(2, 12))) for _ in range(n)]
    return [
        SuitePrompt(f"p{i}", f"kind-{i % 8}", text, "white letters on a dark background")
        for i, text in enumerate(texts)
    ]


def open_page(page: Path) -> float:
    """Seconds from asking for the page until its table is drawn and its thread answers."""
    browser = Browser(require_tool(("chromium", "chromium-browser", "google-chrome"), "chromium"))
    try:
        started = time.perf_counter()
        browser.call("Page.navigate", url=page.as_uri())
        browser.wait(READY, timeout_s=60)
        return time.perf_counter() - started
    finally:
        browser.close()


if __name__ == "__main__":
    main()
