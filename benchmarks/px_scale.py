"""How well enlarged pictures are recognised: four ways, on pictures whose enlargement is known.

    python benchmarks/px_scale.py [--pictures N] [--seed S] [--keep DIR]

Photographs of scikit-image and of examples/photos, and pictures of `datatools synth --profile scene`, are
cut, enlarged by 1.25 to 4 with three filters, or left alone, and saved as PNG or JPEG. All pieces come out at
the same sizes, so that size tells nothing. Thresholds of the other ways are fitted on every second picture,
such that they are wrong on at most one in fifty untouched pieces; the table is about the other half.
"""

from __future__ import annotations

import argparse
import io
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import skimage.data
from PIL import Image

from datatools.px_scale import estimate_px_scale
from datatools.synth import SynthOptions
from datatools.synth.picture import make_picture

ROOT = Path(__file__).parents[1]
PHOTOGRAPHS = (
    *("astronaut", "brick", "camera", "chelsea", "clock_motion", "coffee", "coins", "grass", "gravel", "ihc"),
    *("moon", "motorcycle_left", "page", "text"),
)
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
FILTERS["lanczos"] = Image.Resampling.LANCZOS
FACTORS = (1.25, 1.5, 2.0, 3.0, 4.0)
QUALITIES = (None, 90, 75)
EDGES_PX = (192, 256, 384, 512)
NEAR = 1.25  # a ratio within this of the truth counts as right
WRONG_ON_UNTOUCHED = 0.02


class Piece(NamedTuple):
    """A picture whose enlargement is known."""

    pixels: np.ndarray
    name: str
    factor: float
    truth: tuple[float, float]
    quality: int | None


class Answer(NamedTuple):
    """What one way says: how sure it is, and the ratio of both axes."""

    evidence: float
    scale: tuple[float, float] | None


def originals(n: int) -> Iterator[tuple[str, Image.Image]]:
    """Pictures as they are, each kind spread over the whole."""
    kinds = [list(photographs()), list(drawn(n))]
    for index in range(max(map(len, kinds))):
        yield from (kind[index] for kind in kinds if index < len(kind))


def photographs() -> Iterator[tuple[str, Image.Image]]:
    folder = Path(skimage.data.__file__).parent
    for name in PHOTOGRAPHS:
        yield name, Image.open(folder / f"{name}.png").convert("RGB")
    for path in sorted((ROOT / "examples/photos").glob("img_*.jpg")):
        yield path.name, Image.open(path).convert("RGB")


def drawn(n: int) -> Iterator[tuple[str, Image.Image]]:
    options = SynthOptions(n=n, size_px=512, profile="scene", seed=7)
    for index in range(n):
        yield f"scene {index}", Image.fromarray(make_picture(options, index).image)


def pieces(name: str, image: Image.Image, rng: np.random.Generator) -> Iterator[Piece]:
    """For each quality, three untouched pieces and one of each enlargement, by filters in turn."""
    for quality in QUALITIES:
        for _ in range(3):
            yield piece(name, image, 1.0, None, quality, rng)
        for factor, kind in zip(FACTORS, rng.permutation([*FILTERS, *FILTERS])[: len(FACTORS)], strict=True):
            yield piece(name, image, factor, str(kind), quality, rng)


def piece(
    name: str,
    image: Image.Image,
    factor: float,
    kind: str | None,
    quality: int | None,
    rng: np.random.Generator,
) -> Piece:
    edge = round(int(rng.choice(EDGES_PX)) / factor)
    width, height = min(edge, image.width), min(edge, image.height)
    left, top = rng.integers(image.width - width + 1), rng.integers(image.height - height + 1)
    cut = image.crop((int(left), int(top), int(left) + width, int(top) + height))
    if kind is not None:
        cut = cut.resize((round(width * factor), round(height * factor)), FILTERS[kind])
    truth = (cut.width / width, cut.height / height)
    if quality is not None:
        buffer = io.BytesIO()
        cut.save(buffer, "JPEG", quality=quality)
        cut = Image.open(buffer).convert("RGB")
    return Piece(np.asarray(cut), name, factor, truth, quality)


def ours(pixels: np.ndarray) -> Answer:
    """datatools.px_scale as it ships; its thresholds are its own."""
    scale = estimate_px_scale(pixels)
    return Answer(0.0 if scale is None else np.inf, scale)


def spectrum(pixels: np.ndarray) -> Answer:
    """Where the power spectrum of lines sinks into its noise floor: 0.5 / that frequency."""
    ratios, steepness = zip(*(_spectrum_axis(grey) for grey in both_axes(pixels)), strict=True)
    return Answer(float(np.mean(steepness)), (ratios[0], ratios[1]))


def _spectrum_axis(grey: np.ndarray) -> tuple[float, float]:
    n = grey.shape[1]
    lines = (grey - grey.mean(axis=1, keepdims=True)) * np.hanning(n)
    power = np.log((np.abs(np.fft.rfft(lines, axis=1)) ** 2).mean(axis=0)[2:] / n + 0.02)
    floor, top = np.median(power[-len(power) // 10 :]), np.median(power[: len(power) // 8])
    above = np.flatnonzero(power > floor + 0.2 * (top - floor))
    if not len(above):  # a piece without anything in it
        return 1.0, 0.0
    cut = 0.5 * (above[-1] + 3) / len(power)
    return min(8.0, max(1.0, 0.5 / min(cut, 0.5))), float(top - floor)


def regrown(pixels: np.ndarray) -> Answer:
    """The smallest size from which the picture grows again with less than rounding's worth of difference."""
    ratios, gaps = zip(*(_regrown_axis(grey) for grey in both_axes(pixels)), strict=True)
    return Answer(float(np.mean(gaps)), (ratios[0], ratios[1]))


def _regrown_axis(grey: np.ndarray) -> tuple[float, float]:
    image = Image.fromarray(grey.astype(np.float32))
    factors = np.exp(np.arange(np.log(1.1), np.log(6), 0.08))
    losses = []
    for factor in factors:
        small = image.resize((max(2, round(image.width / factor)), image.height), Image.Resampling.LANCZOS)
        grown = small.resize(image.size, Image.Resampling.LANCZOS)
        losses.append(float(np.mean((np.asarray(grown) - grey) ** 2)))
    loss = np.log(np.array(losses) + 0.04)
    bends = loss[2:] - 2 * loss[1:-1] + loss[:-2]
    at = int(np.argmax(bends))
    return float(factors[at + 1]), float(bends[at])


def periodic(pixels: np.ndarray) -> Answer:
    """Period of the second derivative's size (Gallagher 2005); the spectrum chooses among aliases."""
    found = [_periodic_axis(grey) for grey in both_axes(pixels)]
    soft = spectrum(pixels).scale or (1.0, 1.0)
    ratios = [
        min((1 / peak, 1 / (1 - peak)), key=lambda ratio: abs(np.log(ratio / softness)))
        for (peak, _), softness in zip(found, soft, strict=True)
    ]
    return Answer(float(np.mean([strength for _, strength in found])), (ratios[0], ratios[1]))


def _periodic_axis(grey: np.ndarray) -> tuple[float, float]:
    second = np.abs(2 * grey[:, 1:-1] - grey[:, :-2] - grey[:, 2:]).mean(axis=0)
    size = np.abs(np.fft.rfft((second - second.mean()) * np.hanning(len(second))))
    frequency = np.fft.rfftfreq(len(second))
    usable = (frequency > 0.17) & (np.abs(frequency * 8 - np.round(frequency * 8)) > 24 / len(second))
    usable |= (frequency > 0.17) & (size > 0) & (np.abs(frequency - 0.5) < 1 / len(second))
    peak = int(np.argmax(np.where(usable, size, 0)))
    if not size[peak] > 0:  # a piece without anything in it
        return 0.5, 0.0
    return float(frequency[peak]), float(np.log(size[peak] / np.median(size[usable])))


def both_axes(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    grey = pixels.astype(np.float64) @ [0.299, 0.587, 0.114]
    return grey, grey.T


WAYS: dict[str, Callable[[np.ndarray], Answer]] = {
    "ours (subspace)": ours,
    "spectrum": spectrum,
    "shrink and regrow": regrown,
    "periodicity": periodic,
}


def threshold(answers: Sequence[tuple[Piece, Answer]]) -> float:
    """The least evidence that is wrong on few enough untouched pieces."""
    untouched = [a.evidence for p, a in answers if p.factor == 1 and wrong_on_untouched(a)]
    n = sum(p.factor == 1 for p, _ in answers)
    allowed = int(WRONG_ON_UNTOUCHED * n)
    return sorted(untouched, reverse=True)[allowed] if len(untouched) > allowed else -np.inf


def wrong_on_untouched(answer: Answer) -> bool:
    return answer.scale is not None and max(answer.scale) > 1.1


def row(answers: Sequence[tuple[Piece, Answer]], least: float) -> str:
    """Share answered, of these within NEAR, and the median error of the ratio, for each factor."""
    cells = []
    untouched = [(p, a) for p, a in answers if p.factor == 1]
    false = sum(a.evidence > least and wrong_on_untouched(a) for _, a in untouched)
    cells.append(f"{false} of {len(untouched)}")
    for factor in FACTORS:
        of = [(p, a) for p, a in answers if p.factor == factor]
        said = [(p, a.scale) for p, a in of if a.evidence > least and a.scale is not None]
        errors = [abs(np.log(s / t)) for p, scale in said for s, t in zip(scale, p.truth, strict=True)]
        if not errors:
            cells.append(f"0 % of {len(of)}")
            continue
        right = np.mean(np.array(errors) < np.log(NEAR))
        error = 100 * (np.exp(np.median(errors)) - 1)
        cells.append(f"{100 * len(said) / len(of):.0f} %, {100 * right:.0f} %, {error:.1f} %")
    return " | ".join(cells)


def kept_answers(
    folder: Path | None, seed: int, n_pieces: int | None, number: int, name: str, image: Image.Image
) -> list[tuple[str, Piece, Answer]]:
    """What each way says of each piece of an original, from an earlier run if that kept it."""
    path = None if folder is None else folder / f"px_scale-{seed}-{n_pieces}-{number}.pickle"
    if path is not None and path.is_file():
        return list(pickle.loads(path.read_bytes()))
    rng = np.random.default_rng([seed, number])
    found = [
        (way, each._replace(pixels=np.empty(0)), look(each.pixels))
        for each in islice(pieces(name, image, rng), n_pieces)
        for way, look in WAYS.items()
    ]
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(found))
    return found


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100, help="use only so many originals")
    parser.add_argument("--pieces", type=int, help="use only so many pieces of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder for answers; a second run goes on from them")
    chosen = parser.parse_args()
    answers: dict[str, list[list[tuple[Piece, Answer]]]] = {name: [[], []] for name in WAYS}
    with suppress(KeyboardInterrupt):  # tables of what was done until then
        for number, (name, image) in enumerate(islice(originals(10), chosen.pictures)):
            for way, each, answer in kept_answers(
                chosen.keep, chosen.seed, chosen.pieces, number, name, image
            ):
                answers[way][number // 2 % 2].append((each, answer))
            print(f"{number + 1} originals", file=sys.stderr, flush=True)
    head = " | ".join(f"x {factor:g}" for factor in FACTORS)
    print(f"| way | wrong on untouched | {head} |\n|---|---|{'---|' * len(FACTORS)}")
    for way, (fitted, tested) in answers.items():
        print(f"| {way} | {row(tested, 0.0 if way.startswith('ours') else threshold(fitted))} |")
    both = [*answers["ours (subspace)"][0], *answers["ours (subspace)"][1]]
    for quality in QUALITIES:
        name = "PNG" if quality is None else f"JPEG {quality}"
        print(f"| ours, {name}, both halves | {row([x for x in both if x[0].quality == quality], 0.0)} |")
    for kind, is_kind in (("synth scene", True), ("photographs", False)):
        of = [x for x in both if x[0].name.startswith("scene") == is_kind]
        print(f"| ours, {kind}, both halves | {row(of, 0.0)} |")


if __name__ == "__main__":
    main()
