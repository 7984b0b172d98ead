"""Write the suites of the mini recipes: held-out words, orders of letters, empty texts.

python recipes/mini/suite.py recipes/mini

`lines.jsonl` has all of `words.jsonl`, and lines; `report.jsonl` has all of it, and words of the training
pictures. All have one name, so that what several ask for is drawn from the same noise.
"""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from datatools.synth import SynthOptions, make_picture
from datatools.synth.words import BANDS, Band, words

SEED = 66
N_LONGER, N_STRINGS, N_BLANK, N_LINED, N_SEEN = 100, 60, 60, 100, 60
TAUGHT: tuple[Band, ...] = ("common", "frequent")
"""The words that the profiles named mini draw."""


def main(folder: Path) -> None:
    rows = one_line()
    write(folder / "words.jsonl", 1, rows)
    write(folder / "lines.jsonl", 2, rows + several_lines())
    write(folder / "report.jsonl", 3, rows + seen_words())


def one_line() -> list[dict[str, Any]]:
    kinds = {
        "word-3-4": list(words(BANDS, (3, 4), True)),
        "word-5-8": list(words(BANDS, (5, 8), True))[:: max(1, len(words(BANDS, (5, 8), True)) // N_LONGER)],
        "letters-3-4": strings(),
        "blank": [""] * N_BLANK,
    }
    captions = described(SEED + 1)
    rows: list[dict[str, Any]] = []
    for kind, texts in kinds.items():
        for i, text in enumerate(texts):
            capt = captions["" if kind == "blank" else "text"].pop()
            rows.append({"id": f"{kind}-{i:03}", "stratum": kind, "txt": text.upper(), "capt": capt})
    return rows


def seen_words() -> list[dict[str, Any]]:
    """Words of the training half, as many short ones as long ones."""
    captions = described(SEED + 3)["text"]
    rows: list[dict[str, Any]] = []
    for kind, letters in (("seen-3-4", (3, 4)), ("seen-5-8", (5, 8))):
        known = words(TAUGHT, letters, False)
        for i, text in enumerate(known[:: len(known) // N_SEEN][:N_SEEN]):
            rows.append(
                {"id": f"{kind}-{i:03}", "stratum": kind, "txt": text.upper(), "capt": captions.pop()}
            )
    return rows


def several_lines() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for n_lines, kind in ((2, "two-lines"), (3, "three-lines")):
        for i, (text, capt) in enumerate(lined(n_lines)):
            rows.append({"id": f"{kind}-{i:03}", "stratum": kind, "txt": text, "capt": capt})
    return rows


def write(path: Path, version: int, rows: list[dict[str, Any]]) -> None:
    rows = sorted(rows, key=lambda row: (row["id"][-3:], row["stratum"]))  # any beginning is a fair mix
    head = {"suite": "mini-words", "version": version, "images_per_prompt": 1}
    path.write_text("".join(json.dumps(row) + "\n" for row in [head, *rows]), "utf-8")


def strings() -> list[str]:
    """Orders of letters that no training picture shows."""
    made = (make_picture(SynthOptions(profile="mini", split="test-words", seed=SEED), i) for i in range(1000))
    return [picture.text for picture in made if picture.facts["kind"] == "letters"][:N_STRINGS]


def lined(n_lines: int) -> list[tuple[str, str]]:
    """Texts of so many lines, each a held-out word, and the caption of a picture that shows them."""
    options = SynthOptions(profile="mini-lines", split="test-words", seed=SEED + 2)
    made = (make_picture(options, i) for i in range(2000))
    fitting = (p for p in made if p.facts["kind"] == "words" and len(p.lines) == n_lines)
    return [(picture.text, picture.captions[0]) for picture in islice(fitting, N_LINED)]


def described(seed: int) -> dict[str, list[str]]:
    """Full captions of pictures with text and without, in the words the model was trained on."""
    found: dict[str, list[str]] = {"": [], "text": []}
    for i in range(1500):
        picture = make_picture(SynthOptions(profile="mini", split="test-words", seed=seed), i)
        found["text" if picture.text else ""].append(picture.captions[0])
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
