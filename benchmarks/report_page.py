"""A report of a large sweep: seconds to make the page, its size, and how soon it can be used in a browser.

The store is made up: 50 settings on 1,000 prompts, their readings the texts with letters exchanged, their
pictures (of the prompts that a page shows) noisy gradients. Everything from the store to the page, and the
page itself, is what a user gets. The browser is open when the page is asked for, as a reader's is; the click
is a mouse's, and what it does must be seen in the page. CPU seconds are those of the page's own thread.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from harness import table
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/eval")]

from browser import Browser  # noqa: E402
from required_tools import require_tool  # noqa: E402

from eval.generators import Made  # noqa: E402
from eval.leaderboard import load_board  # noqa: E402
from eval.reading.pictures import register_reader  # noqa: E402
from eval.reading.protocol import Protocol  # noqa: E402
from eval.report.page import render_page  # noqa: E402
from eval.run import Plan, make_pictures, start_run, write_plan  # noqa: E402
from eval.scoring.steps import score_again  # noqa: E402
from eval.store import Store, open_store  # noqa: E402
from eval.suites import Cell, Suite, SuitePrompt, cells_of  # noqa: E402
from eval.sweep import Setting, make_setting  # noqa: E402

N_DRAWN = 40  # prompts whose pictures are really drawn: of 50 settings a page shows no more
SAMPLERS = ("ddim", "plms", "dpmpp_2m", "unipc", "heun")
PICK = "table.board tbody tr .pick button"
READY = f"document.querySelector('{PICK}') !== null"
CLICKED = "document.querySelector('table.board tbody tr.is-a') !== null"
WHOLE = "document.querySelector('#nav button') !== null"


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
        opened_s = np.array([open_page(page) for _ in range(options.rounds)])
        rows = [
            ("page made", f"{made_s:.1f} s ({made_cpu_s:.1f} CPU-s)", "10 s"),
            ("its size", f"{page.stat().st_size / 1e6:.1f} MB", "20 MB"),
            ("first row clicked", spread(opened_s[:, 0]), "1 s"),
            ("all parts drawn", spread(opened_s[:, 2]), ""),
            (
                "CPU until the click, until all is drawn",
                f"{spread(opened_s[:, 1])}, {spread(opened_s[:, 3])}",
                "",
            ),
        ]
    n = f"{options.settings} settings x {options.prompts} samples"
    print(table([n, f"measured (page opened {options.rounds} times)", "target"], rows))


def spread(seconds: np.ndarray) -> str:
    """Median and range."""
    return f"{np.median(seconds):.2f} s ({seconds.min():.2f}-{seconds.max():.2f})"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=int, default=50)
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    return parser.parse_args()


class Painter:
    """A noisy gradient for each cell."""

    batch_size = 64

    def make(self, setting: Setting, cells: Sequence[Cell]) -> list[Made]:
        return [Made(cell, self._paint(setting, cell), seconds=0.4, n_evaluations=20) for cell in cells]

    def _paint(self, setting: Setting, cell: Cell) -> np.ndarray:
        random = np.random.default_rng([cell.seed, int(setting.id, 16)])
        coarse = random.integers(0, 256, (3, 3, 3), dtype=np.uint8)
        picture = np.array(Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC))
        return picture + random.integers(0, 12, picture.shape, dtype=np.uint8)


class Reader:
    """Only its name: readings are written as they would have been read."""

    name, version, weights_digest, settings = "made up", "1", "none", {}


def fill(path: Path, n_settings: int, n_prompts: int) -> None:
    suite = Suite("made", 1, "0" * 64, 1, tuple(prompts(n_prompts)))
    cells = list(cells_of(suite))
    settings = [setting(i) for i in range(n_settings)]
    with open_store(path, "write") as store:
        start_run(store, Plan(suite, cells, settings, run_id="r"), {"command": ["benchmark"]})
        drawn = Plan(suite, cells[:N_DRAWN], settings, run_id="r")
        write_plan(store, drawn)
        make_pictures(store, drawn, Painter())
        reader_id = register_reader(store, Reader())
        for i, one in enumerate(settings):
            write_cells(store, one, cells, 0.7 + 0.3 * i / n_settings, reader_id)
        score_again(store, [one.id for one in settings], Protocol(reader_id))


def setting(i: int) -> Setting:
    sampler, n_steps, guidance = SAMPLERS[i % 5], 10 * (1 + i // 5 % 5), 1.0 + i // 25
    spec = {"generator": "made", "sampler": sampler, "n_steps": n_steps, "guidance_txt": guidance}
    return make_setting(spec, f"{sampler}:{n_steps} s={guidance:g}")


def write_cells(store: Store, one: Setting, cells: list[Cell], skill: float, reader_id: str) -> None:
    """A sample and a reading for every cell; those that were drawn keep their picture."""
    random = np.random.default_rng(int(one.id, 16))
    kept = store.rows("SELECT prompt_id, sha256 FROM samples WHERE setting_id = ?", [one.id])
    drawn = dict(kept)
    samples, readings = [], []
    for cell in cells:
        sha256 = (
            drawn.get(cell.prompt.id) or hashlib.sha256(f"{one.id} {cell.prompt.id}".encode()).hexdigest()
        )
        text = "".join(c if random.random() < skill else "x" for c in cell.prompt.txt)
        line = {"polygon": [[8, 20], [56, 20], [56, 40], [8, 40]], "text": text, "confidence": 0.9}
        key = {"setting_id": one.id, "prompt_id": cell.prompt.id, "seed": cell.seed}
        about = {"status": "done", "width_px": 64, "height_px": 64, "seconds": 0.4, "n_evaluations": 20.0}
        samples.append(key | about | {"sha256": sha256, "run_id": "r"})
        readings.append(
            {"sha256": sha256, "region_id": "", "reader_id": reader_id, "lines": json.dumps([line])}
        )
    store.write("samples", samples)
    store.write("readings", readings)


def prompts(n: int) -> list[SuitePrompt]:
    random = np.random.default_rng(0)
    letters = np.array(list("abcdefghiklmnoprstuw"))
    texts = ["".join(random.choice(letters, random.integers(2, 12))) for _ in range(n)]
    return [
        SuitePrompt(f"p{i}", f"kind-{i % 8}", text, "white letters on a dark background")
        for i, text in enumerate(texts)
    ]


def open_page(page: Path) -> tuple[float, float, float, float]:
    """Seconds and CPU seconds of the page from asking for it until a click on its first row has had effect,
    then until all of it is drawn."""
    browser = Browser(require_tool(("chromium", "chromium-browser", "google-chrome"), "chromium"))
    try:
        browser.call("Page.navigate", url="data:text/html,another page")
        browser.wait("document.readyState === 'complete'")
        browser.call("Performance.enable", timeDomain="threadTicks")
        started = time.perf_counter()
        browser.call("Page.navigate", url=page.as_uri())
        browser.wait(READY, timeout_s=60)
        browser.click(PICK)
        browser.wait(CLICKED, timeout_s=60)
        clicked = (time.perf_counter() - started, page_cpu_s(browser))
        browser.wait(WHOLE, timeout_s=60)
        return *clicked, time.perf_counter() - started, page_cpu_s(browser)
    finally:
        browser.close()


def page_cpu_s(browser: Browser) -> float:
    """CPU seconds of the page's main thread: parsing, scripts, style, layout, painting."""
    metrics = browser.call("Performance.getMetrics")["metrics"]
    return next(float(one["value"]) for one in metrics if one["name"] == "ThreadTime")


if __name__ == "__main__":
    main()
