"""What each reader gets right, by picture size, letter height and background.

    python benchmarks/ocr_accuracy.py --n-each 40 --reader rapidocr --reader tesseract

Pictures are `plain` and `scene` of 64 to 512 px, `--n-each` of each, words and fonts from the test half.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Annotated

import typer
from harness import table
from ocr_pictures import Mistakes, error_rate, mistakes, pictures_with_text, recall

from datatools.console import progress
from datatools.ocr import open_engine
from datatools.synth import SynthPicture

BUSY = ("photograph", "marble", "confetti", "checks")


def main(
    n_each: Annotated[int, typer.Option(help="Pictures of each size and profile.")] = 40,
    reader: Annotated[list[str], typer.Option(help="Which readers.")] = ["rapidocr", "tesseract"],  # noqa: B006
) -> None:
    """Print one row per group of pictures: CER and words found of each reader."""
    pictures = pictures_with_text(n_each)
    found: dict[str, list[Mistakes]] = defaultdict(list)
    with progress("reading pictures", len(pictures) * len(reader)) as advance:
        for name in reader:
            engine = open_engine(name)
            for _, picture in pictures:
                [lines] = engine.read([picture.image])
                found[name].append(mistakes(picture, lines))
                advance()
    members: dict[str, list[int]] = defaultdict(list)
    for i, (size_px, picture) in enumerate(pictures):
        for group in groups(size_px, picture):
            members[group].append(i)
    print("CER % / words found %, with 95 % intervals over pictures\n")
    rows = []
    for group, indices in sorted(members.items()):
        alike = [[found[name][i] for i in indices] for name in reader]
        rows.append([group, len(indices), *(f"{error_rate(each)} / {recall(each)}" for each in alike)])
    print(table(["pictures", "n", *reader], rows))


def groups(size_px: int, picture: SynthPicture) -> list[str]:
    """The rows of the table that a picture counts in."""
    letter_px = picture.facts["letter_px"]
    heights = {12: "08-11", 20: "12-19", 40: "20-39"}
    height = next((name for limit, name in heights.items() if letter_px < limit), "40 and more")
    ground = picture.facts["ground"]
    kind = "photograph" if ground == "photograph" else "pattern" if ground in BUSY else "plain or soft"
    rows = [f"{picture.profile}, {size_px:03d} px", f"letters {height} px", f"background: {kind}"]
    return [*rows, f"text lies {picture.facts['posture']}", f"text: {picture.facts['kind']}"]


if __name__ == "__main__":
    typer.run(main)
