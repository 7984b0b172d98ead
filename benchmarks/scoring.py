"""Scoring a folder of pictures, text and FID and CLIP in one pass, beside three libraries one after another.

    python benchmarks/scoring.py --n 100

Contenders take turns on folders of pictures that nobody has met (`datatools synth`, PNG, 128 px). Ours is the
whole of `txtdiff-eval score`: store, scores and intervals included. Theirs is torch-fidelity's extraction,
then a loop over RapidOCR with this protocol's settings, then open_clip on the same tower. Both open their
networks in each round, torch-fidelity's excepted, which is open before. The bare passes are the same networks
on pictures decoded and prepared before, one after another.

Readings must be equal to the letter, CLIP scores within 1e-3 (of 100), Inception features within 1e-3 where
ours are resized as torch-fidelity does. A tower without a weights file has drawn weights, as fast as any.
CPU seconds are this process's: torch-fidelity decodes in others, which are not counted.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import open_clip
import safetensors.torch
import torch
import typer
from fid_features import torch_fidelity_extraction
from harness import ratio, table
from PIL import Image

from datatools.ocr import open_engine
from datatools.synth import SynthOptions, make_pictures
from eval.clip_score import agreement, open_clip_scorer
from eval.fidelity import extract_features, open_inception
from eval.fidelity.features import BATCH_SIZE_CPU, Features, prepare
from eval.jobs import score_folder
from eval.reading import Picture, lines_from_json
from eval.score_options import ScoreOptions
from eval.store import open_store

CLIP_BATCH = 32


@dataclass(frozen=True)
class Job:
    """A folder of pictures with captions, the tower, and a catalog of real pictures."""

    folder: Path
    clip: tuple[str, str]
    reference: Path

    @property
    def files(self) -> list[Path]:
        return sorted((self.folder / "pictures").rglob("*.png"))

    @property
    def captions(self) -> list[str]:
        rows = (self.folder / "pictures" / "captions.jsonl").read_text().splitlines()
        return [row["captions"][0] for row in sorted(map(json.loads, rows), key=lambda row: row["key"])]


@dataclass(frozen=True)
class Result:
    """What a contender found: texts of each picture, and the mean agreement with the captions."""

    readings: list[list[str]]
    clip: float
    features: Features | None = None


def ours(job: Job) -> Result:
    """One call of what the command calls."""
    store_path = job.folder / "eval.duckdb"
    prompts = job.folder / "prompts.jsonl"
    options = ScoreOptions(clip=job.clip)
    score_folder(store_path, job.folder / "pictures", prompts, "ours", job.reference, ["rapidocr"], options)
    with open_store(store_path) as store:
        rows = store.rows(
            """SELECT r.lines FROM samples s JOIN prompts p USING (prompt_id) JOIN readings r USING (sha256)
               ORDER BY p.position, s.seed"""
        )
        [(clip,)] = store.rows("SELECT value FROM scores WHERE metric = 'clip_desc'")
    return Result([[line.text for line in lines_from_json(lines)] for (lines,) in rows], clip)


def theirs(job: Job, extract: Callable[[], Features]) -> Result:
    """Each library as its own documentation uses it, one after another; torch-fidelity's network is open."""
    features = extract()
    reader = open_engine("rapidocr")
    readings = [[line.text for line in reader.read([load(path)])[0]] for path in job.files]
    scorer = open_clip_scorer(*job.clip, device="cpu")
    rows = []
    with torch.inference_mode():
        for start in range(0, len(job.files), CLIP_BATCH):
            batch = [scorer.transform(Image.open(path)) for path in job.files[start : start + CLIP_BATCH]]
            rows.append(scorer.network.encode_image(torch.stack(batch), normalize=True).numpy())  # type: ignore[operator]
        texts = scorer.network.encode_text(scorer.tokenizer(job.captions), normalize=True).numpy()  # type: ignore[operator]
    return Result(readings, float(agreement(np.concatenate(rows), texts).mean()), features)


class Bare:
    """Networks that are open and pictures that are ready: what no pass can do without."""

    def __init__(self, clip: tuple[str, str]) -> None:
        self.reader = open_engine("rapidocr")
        self.inception = open_inception(device="cpu")
        self.scorer = open_clip_scorer(*clip, device="cpu")

    def seconds(self, job: Job) -> tuple[float, float]:
        """Wall and CPU seconds of a folder."""
        pictures = [load(path) for path in job.files]
        prepared = torch.stack([prepare(picture, "clean") for picture in pictures]).permute(0, 3, 1, 2)
        for_clip = torch.stack([self.scorer.transform(Image.fromarray(picture)) for picture in pictures])
        ids = self.scorer.tokenizer(job.captions)
        wall, cpu = time.perf_counter(), time.process_time()
        self.reader.read(pictures)
        with torch.inference_mode():
            for batch in prepared.split(BATCH_SIZE_CPU):
                self.inception(batch)
            for batch in for_clip.split(CLIP_BATCH):
                self.scorer.network.encode_image(batch)  # type: ignore[operator]
            self.scorer.network.encode_text(ids)  # type: ignore[operator]
        return time.perf_counter() - wall, time.process_time() - cpu


def load(path: Path) -> Picture:
    return np.asarray(Image.open(path).convert("RGB"))


def make_job(folder: Path, n: int, seed: int, clip: tuple[str, str], reference: Path) -> Job:
    make_pictures(folder / "pictures", SynthOptions(n=n, size_px=128, seed=seed, profile="scene"))
    job = Job(folder, clip, reference)
    truth = [json.loads(row) for row in (folder / "pictures" / "truth.jsonl").read_text().splitlines()]
    truth.sort(key=lambda row: row["key"])
    rows = [
        {"file": row["key"], "txt": row["text"], "capt": caption}
        for row, caption in zip(truth, job.captions, strict=True)
    ]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return job


def tower(name: str, weights: str | None, folder: Path) -> tuple[str, str]:
    """Name and weights of the scoring CLIP; weights are drawn once where none are given."""
    if name == "tiny" or weights is not None:
        return name, weights or ""
    torch.manual_seed(0)
    path = folder / "clip.safetensors"
    safetensors.torch.save_file(open_clip.create_model(name).state_dict(), path)
    return name, str(path)


def check(job: Job, one: Result, other: Result) -> None:
    """See that both found the same; the benchmark fails otherwise."""
    if sorted(one.readings) != sorted(other.readings):
        raise SystemExit("the readings differ")
    if abs(one.clip - other.clip) > 1e-3:
        raise SystemExit(f"CLIP scores differ: {one.clip} and {other.clip}")
    features = extract_features([load(path) for path in job.files], "tf")
    gap = float(np.abs(features - other.features).max())
    if gap > 1e-3:
        raise SystemExit(f"Inception features differ by {gap}")


def main(
    n: Annotated[int, typer.Option(help="Pictures a round.")] = 100,
    rounds: Annotated[int, typer.Option(help="Folders that each contender scores.")] = 3,
    clip_model: Annotated[str, typer.Option(help="open_clip architecture, or tiny.")] = "ViT-B-32",
    clip_weights: Annotated[str | None, typer.Option(help="Its weights; default: drawn.")] = None,
) -> None:
    spent: dict[str, list[tuple[float, float]]] = {"ours": [], "theirs": [], "bare": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = tower(clip_model, clip_weights, folder)
        # Two real pictures: the reference is measured once for a catalog, whatever is compared with it.
        make_pictures(folder / "real", SynthOptions(n=2, size_px=128, seed=10_000))
        build = ["build-catalog", str(folder / "real"), "--catalog", str(folder / "real.duckdb")]
        subprocess.run([sys.executable, "-m", "datatools", *build], check=True, capture_output=True)
        bare = Bare(clip)
        for turn in range(rounds):
            job = make_job(folder / str(turn), n, turn + 1, clip, folder / "real.duckdb")
            results = {}
            extract = torch_fidelity_extraction(job.files[0].parent, folder / "weights.pth")
            for who, run in {"ours": ours, "theirs": partial(theirs, extract=extract)}.items():
                wall, cpu = time.perf_counter(), time.process_time()
                results[who] = run(job)
                spent[who].append((time.perf_counter() - wall, time.process_time() - cpu))
            spent["bare"].append(bare.seconds(job))
            check(job, results["ours"], results["theirs"])
            print(turn, {who: found[-1] for who, found in spent.items()}, file=sys.stderr, flush=True)
    print_table(spent, n, clip_model)


def print_table(spent: dict[str, list[tuple[float, float]]], n: int, clip_model: str) -> None:
    names = {
        "ours": "txtdiff-eval score",
        "theirs": "torch-fidelity, RapidOCR, open_clip",
        "bare": "bare forward passes, networks open",
    }
    columns = {who: np.array(found).T for who, found in spent.items()}
    rows = []
    for who, (wall, cpu) in columns.items():
        ratios = [ratio(seconds, our) for seconds, our in zip((wall, cpu), columns["ours"], strict=True)]
        rows.append((names[who], f"{n / wall.mean():.2f}", f"{cpu.mean() / n:.3f}", *ratios))
    rounds = len(spent["ours"])
    head = ["contender", "pictures per s", "CPU-s a picture", "wall over ours", "CPU over ours"]
    print(table(head, rows))
    print(
        f"\n{n} pictures of 128 px a round, {rounds} rounds, {clip_model}, "
        f"{torch.get_num_threads()} threads. Targets: theirs ≥ 1.5, bare ≥ 0.91 (ours ≤ 1.1 of it). "
        "Readings, CLIP scores and features are equal."
    )


if __name__ == "__main__":
    typer.run(main)
