"""Scoring a folder of pictures, text and FID and CLIP in one pass, beside three libraries one after another.

    python benchmarks/scoring.py --n 100

Contenders take turns on folders of pictures that nobody has met (`datatools synth`, PNG, 128 px). Ours is the
whole of `txtdiff-eval score`: store, scores and intervals included. Theirs is torch-fidelity's extraction,
then a loop over RapidOCR with this protocol's settings and the better number of threads, then open_clip on
the same tower: pictures, and the three prompts of a protocol (description, text, both). Both open their
networks in each round, but torch-fidelity's, which is open before. The bare passes are the same networks,
open, on pictures decoded before, on all cores. Ours scores each folder a second time, when readings and
features lie in its store.

Readings must be equal to the letter, CLIP scores within 1e-3 (of 100), Inception features within 1e-3 where
ours are resized as torch-fidelity does. A tower without a weights file has drawn weights, as fast as any.
CPU seconds include those of torch-fidelity's loading processes.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import open_clip
import safetensors.torch
import torch
import typer
from fid_features import torch_fidelity_extraction
from harness import ratio, table
from PIL import Image

from datatools.ocr import open_engine
from datatools.ocr.rapidocr import RapidOcrEngine, RapidOcrSettings
from datatools.synth import SynthOptions, make_pictures
from eval.clip_score import CLIP_KINDS, agreement, clip_prompts, open_clip_scorer
from eval.commands.jobs import score_folder
from eval.fidelity import extract_features, open_inception
from eval.fidelity.features import Features, features_of, prepare
from eval.reading.pictures import Picture, lines_from_json
from eval.scoring.options import ScoreOptions
from eval.store import open_store

CLIP_BATCH = 32

Thing = TypeVar("Thing")


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

    @property
    def truth(self) -> list[dict[str, str]]:
        rows = (self.folder / "pictures" / "truth.jsonl").read_text().splitlines()
        return sorted(map(json.loads, rows), key=lambda row: str(row["key"]))

    @property
    def prompts(self) -> dict[str, list[str | None]]:
        """What each picture is compared with, by kind: description, text, both; None where there is none."""
        asked = [
            clip_prompts(row["text"], caption, None)
            for row, caption in zip(self.truth, self.captions, strict=True)
        ]
        return {kind: [texts[kind] for texts in asked] for kind in CLIP_KINDS}


@dataclass(frozen=True)
class Result:
    """What a contender found: texts of each picture, and the mean agreement with each kind of prompt."""

    readings: list[list[str]]
    clip: dict[str, float]
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
        clip = dict(
            store.rows("SELECT metric, value FROM scores WHERE metric IN (SELECT unnest(?))", [CLIP_KINDS])
        )
    return Result([[line.text for line in lines_from_json(lines)] for (lines,) in rows], clip)


def theirs(job: Job, extract: Callable[[], Features], n_threads: int) -> Result:
    """Each library as its own documentation uses it, one after another; torch-fidelity's network is open."""
    features = extract()
    reader = RapidOcrEngine(RapidOcrSettings(n_threads=n_threads))
    readings = [[line.text for line in reader.read([load(path)])[0]] for path in job.files]
    scorer = open_clip_scorer(*job.clip, device="cpu")
    network: Any = scorer.network
    clip = {}
    with torch.inference_mode():
        seen = [
            network.encode_image(
                torch.stack([scorer.transform(Image.open(path)) for path in batch]), normalize=True
            )
            for batch in batched(job.files, CLIP_BATCH)
        ]
        for kind, prompts in job.prompts.items():
            texts = [text for text in prompts if text is not None]
            said = [
                network.encode_text(scorer.tokenizer(list(some)), normalize=True)
                for some in batched(texts, CLIP_BATCH)
            ]
            mine = torch.cat(seen)[[text is not None for text in prompts]]
            clip[kind] = float(agreement(mine.numpy(), torch.cat(said).numpy()).mean())
    return Result(readings, clip, features)


class Bare:
    """Networks that are open and pictures that are ready, on every core: what no pass can do without."""

    def __init__(self, clip: tuple[str, str]) -> None:
        self.readers = [open_engine("rapidocr") for _ in range(torch.get_num_threads())]
        self.inception = open_inception(device="cpu")
        self.scorer = open_clip_scorer(*clip, device="cpu")

    def run(self, job: Job) -> Callable[[], None]:
        """The passes over a folder, everything else done before."""
        pictures = [load(path) for path in job.files]
        prepared = [prepare(picture, "clean") for picture in pictures]
        shares = [pictures[i :: len(self.readers)] for i in range(len(self.readers))]
        texts = sorted({text for prompts in job.prompts.values() for text in prompts if text is not None})

        def passes() -> None:
            with ThreadPoolExecutor(len(self.readers)) as pool:
                list(pool.map(lambda reader, share: reader.read(share), self.readers, shares))
            features_of(prepared, lambda picture: picture, network=self.inception)
            self.scorer.embed_pictures(pictures)
            self.scorer.embed_texts(texts)

        return passes


def timed(run: Callable[[], Thing]) -> tuple[Thing, tuple[float, float]]:
    """What a call returns; its wall seconds, and its CPU seconds with those of processes it waited for."""
    wall, cpu = time.perf_counter(), cpu_s()
    found = run()
    return found, (time.perf_counter() - wall, cpu_s() - cpu)


def cpu_s() -> float:
    """CPU seconds of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def batched(items: Sequence[Thing], size: int) -> list[Sequence[Thing]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def better_threads(job: Job) -> int:
    """With how many threads RapidOCR reads a few pictures faster: one, or one a core."""
    tries = {}
    for n_threads in {1, os.cpu_count() or 1}:
        reader = RapidOcrEngine(RapidOcrSettings(n_threads=n_threads))
        pictures = [load(path) for path in job.files[:10]]
        reader.read(pictures[:1])
        _, (wall, _) = timed(partial(reader.read, pictures))
        tries[wall] = n_threads
    return tries[min(tries)]


def load(path: Path) -> Picture:
    return np.asarray(Image.open(path).convert("RGB"))


def make_job(folder: Path, n: int, seed: int, clip: tuple[str, str], reference: Path) -> Job:
    make_pictures(folder / "pictures", SynthOptions(n=n, size_px=128, seed=seed, profile="scene"))
    job = Job(folder, clip, reference)
    rows = [
        {"file": row["key"], "txt": row["text"], "capt": caption}
        for row, caption in zip(job.truth, job.captions, strict=True)
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
    for kind in CLIP_KINDS:
        if abs(one.clip[kind] - other.clip[kind]) > 1e-3:
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
    took: dict[str, list[tuple[float, float]]] = {who: [] for who in ("ours", "theirs", "bare", "again")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = tower(clip_model, clip_weights, folder)
        # Two real pictures: the reference is measured once for a catalog, whatever is compared with it.
        make_pictures(folder / "real", SynthOptions(n=2, size_px=128, seed=10_000))
        build = ["build-catalog", str(folder / "real"), "--catalog", str(folder / "real.duckdb")]
        subprocess.run([sys.executable, "-m", "datatools", *build], check=True, capture_output=True)
        bare, n_threads = Bare(clip), 0
        for turn in range(rounds):
            job = make_job(folder / str(turn), n, turn + 1, clip, folder / "real.duckdb")
            n_threads = n_threads or better_threads(job)
            extract = torch_fidelity_extraction(job.files[0].parent, folder / "weights.pth")
            results: dict[str, Result] = {}
            runs: dict[str, Callable[[], Result]] = {
                "ours": partial(ours, job),
                "theirs": partial(theirs, job, extract, n_threads),
            }
            for who in sorted(runs, reverse=turn % 2 == 1):
                results[who], seconds = timed(runs[who])
                took[who].append(seconds)
            took["bare"].append(timed(bare.run(job))[1])
            again, seconds = timed(partial(ours, job))
            took["again"].append(seconds)
            if again != results["ours"]:
                raise SystemExit("scored again, the same pictures have other scores")
            check(job, results["ours"], results["theirs"])
            print(turn, {who: found[-1] for who, found in took.items()}, file=sys.stderr, flush=True)
    print_table(took, n, f"{clip_model}, RapidOCR with {n_threads} threads")


def print_table(took: dict[str, list[tuple[float, float]]], n: int, how: str) -> None:
    names = {
        "ours": "txtdiff-eval score",
        "theirs": "torch-fidelity, RapidOCR, open_clip",
        "bare": "bare forward passes, networks open",
        "again": "txtdiff-eval score, the same pictures again",
    }
    columns = {who: np.array(found).T for who, found in took.items()}
    rows = []
    for who, (wall, cpu) in columns.items():
        ratios = [ratio(seconds, our) for seconds, our in zip((wall, cpu), columns["ours"], strict=True)]
        rows.append((names[who], f"{n / wall.mean():.2f}", f"{cpu.mean() / n:.3f}", *ratios))
    rounds = len(took["ours"])
    head = ["contender", "pictures per s", "CPU-s a picture", "wall over ours", "CPU over ours"]
    print(table(head, rows))
    print(
        f"\n{n} pictures of 128 px a round, {rounds} rounds, {how}; "
        f"{torch.get_num_threads()} threads of torch. Targets: theirs ≥ 1.5, bare ≥ 0.91 (ours ≤ 1.1 of it), "
        "again ≤ 0.05. "
        "Readings, CLIP scores and features are equal."
    )


if __name__ == "__main__":
    typer.run(main)
