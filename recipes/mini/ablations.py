"""What each choice of the mini recipe is worth: one setting changed at a time, on one small scale.

    python recipes/mini/ablations.py train runs/ablations    # every arm, three seeds; what is there stays
    python recipes/mini/ablations.py read runs/ablations     # the reader reads what they drew
    python recipes/mini/ablations.py table runs/ablations    # the differences, with intervals

An arm and the control with the same seed see the same pictures with the same noise, and draw the same
unseen words from the same noise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
import typer
from PIL import Image

from datatools.atomic import write_text_atomic
from datatools.console import parse_count, run_app
from datatools.errors import InputError, suggest
from eval.statistics import Interval, bootstrap_weights, ratio_interval, sign_flip_p
from eval.store import open_store
from txtdiff.cascade import Prompt, SamplerSettings, load_cascade, sample_pictures
from txtdiff.config import RunConfig
from txtdiff.config_files import file_layer, make_config, settings_layer
from txtdiff.training.checkpoint import checkpoint_images, list_checkpoints
from txtdiff.training.distributed import pick_device
from txtdiff.training.trainer import train as train_run

HERE = Path(__file__).parent
WORDS = HERE / "words.jsonl"
PROMPTS, STORE = "prompts.jsonl", "ablations.duckdb"
STRATA = ("word-3-4", "letters-3-4")
GUIDED = SamplerSettings(sampler="ddim", n_steps=20, guidance_txt=4.0, guidance_capt=1.5)
ENLARGED = SamplerSettings(sampler="ddim", n_steps=5)

FORK = [
    "model.text.names_characters=false", "model.predicts_variance=true", "diffusion.parameterisation=eps",
    "diffusion.variance=learned_range", "diffusion.timestep_sampling=uniform", "optim.lr=1e-4",
    "optim.beta2=0.999", "optim.weight_decay=0", "optim.clip_grad_norm=none", "averaging.rates=0.9999",
]  # fmt: skip

WITHOUT_NOISE = ["model.upsampler.noise_conditioning=false", "diffusion.low_res_noise=none"]


@dataclass(frozen=True)
class Arm:
    """A way of training, told by what it changes of its stage's file."""

    stage: Literal["base", "upsampler"]
    changes: tuple[str, ...] = ()
    every_checkpoint: bool = False
    """Draw words from each checkpoint, not only the last: how spelling comes with the pictures seen."""

    def config(self, seed: int, images: int, changes: Sequence[str]) -> RunConfig:
        """Its settings; the seed chooses pictures, noise and first weights."""
        name = "ablation.toml" if self.stage == "base" else "ablation-upsampler.toml"
        own = [f"run.seed={seed}", f"data.synth.seed={100 + seed}", f"run.images={images}"]
        return make_config(file_layer(HERE / name), settings_layer([*self.changes, *own, *changes]))


ARMS: Mapping[str, Arm] = {
    "control": Arm("base", every_checkpoint=True),
    "fork": Arm("base", tuple(FORK), every_checkpoint=True),
    "word-pieces": Arm("base", ("model.text.tokenizer=clip",)),
    "no-weave": Arm("base", ("model.text.attention.weave=none",)),
    "eps": Arm("base", ("diffusion.parameterisation=eps",)),
    "v": Arm("base", ("diffusion.parameterisation=v",)),
    "x0-min-snr": Arm("base", ("diffusion.min_snr_gamma=5",)),
    "v-min-snr": Arm("base", ("diffusion.parameterisation=v", "diffusion.min_snr_gamma=5")),
    "uniform-times": Arm("base", ("diffusion.timestep_sampling=uniform",)),
    "no-names": Arm("base", ("model.text.names_characters=false",)),
    "plain-ema": Arm("base", ("averaging.start=exponential",)),
    "upsampler": Arm("upsampler"),
    "up-without-noise": Arm("upsampler", tuple(WITHOUT_NOISE)),
    "up-bicubic": Arm("upsampler", ("data.low_res.filter=bicubic",)),
    "up-antialiased-bilinear": Arm("upsampler", ("data.low_res.filter=antialiased_bilinear",)),
    "up-bilinear": Arm("upsampler", ("data.low_res.filter=bilinear",)),
}
"""In the order of the table; the first of each stage is what the others are compared with."""


@dataclass(frozen=True)
class Job:
    """One arm with one seed, in a folder of its own."""

    arm: str
    seed: int
    images: int
    out: Path
    changes: tuple[str, ...] = ()
    n_words: int | None = None
    """Draw only so many words."""

    def run(self) -> str:
        """Train, and draw the words; what is there already is not done again."""
        arm = ARMS[self.arm]
        torch.set_num_threads(1)  # small networks: more arms side by side do more than more threads for one
        config = arm.config(self.seed, self.images, self.changes)
        train_run(config, self.out / "run")
        checkpoints = list_checkpoints(self.out / "run")
        for checkpoint in checkpoints if arm.every_checkpoint else checkpoints[-1:]:
            folder = self.out / str(checkpoint_images(checkpoint))
            if not (folder / PROMPTS).exists():
                # All upsamplers enlarge the pictures of one and the same base.
                small = [self.out.parent / "control-0" / "run"] if arm.stage == "upsampler" else []
                draw([*small, checkpoint], folder, words()[: self.n_words])
        return self.out.name


def draw(stages: Sequence[Path], folder: Path, texts: Sequence[Mapping[str, str]]) -> None:
    """Write a picture of each word, and last the file that says which is which."""
    device = pick_device("auto")
    asked = [Prompt(txt=row["txt"], capt=row["capt"], seed=i) for i, row in enumerate(texts)]
    settings = [GUIDED, ENLARGED][: len(stages)]
    cascade = load_cascade(stages, device=device)
    folder.mkdir(exist_ok=True)
    batches = sample_pictures(cascade, asked, settings, batch_size=200 if device == "cuda" else 8)
    pictures = (picture for batch in batches for picture in batch.pictures)
    lines = []
    for i, (row, picture) in enumerate(zip(texts, pictures, strict=True)):
        name = f"{i:03}.png"
        Image.fromarray(picture).save(folder / name)
        lines.append(json.dumps({"file": name, "seed": i, **row}) + "\n")
    write_text_atomic(folder / PROMPTS, "".join(lines))


def words() -> list[dict[str, str]]:
    """The unseen words and orders of three and four letters of the suite."""
    rows = (json.loads(line) for line in WORDS.read_text("utf-8").splitlines()[1:])
    return [row for row in rows if row["stratum"] in STRATA]


app = typer.Typer(help=__doc__, add_completion=False, no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="Where all of it goes.")]


@app.command()
def train(
    folder: Folder,
    images: Annotated[str, typer.Option(help="Pictures that each base sees.")] = "128k",
    upsampler_images: Annotated[str, typer.Option(help="Pictures that each upsampler sees.")] = "38400",
    seeds: Annotated[int, typer.Option(help="How often each arm is trained.")] = 3,
    jobs: Annotated[int, typer.Option(help="Arms side by side.")] = 2,
    only: Annotated[list[str] | None, typer.Option(help="Only these arms. Repeatable.")] = None,
    n_words: Annotated[int | None, typer.Option(help="Draw only so many words.")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="A setting of every arm.")] = None,
) -> None:
    """Train the arms and let each draw the words. Goes on where it was stopped."""
    for name in only or ():
        if name not in ARMS:
            raise InputError(f"there is no arm '{name}'", suggest(name, ARMS) or f"Arms: {', '.join(ARMS)}.")
    counts = {"base": parse_count(images), "upsampler": parse_count(upsampler_images)}
    todo = [
        Job(name, seed, counts[arm.stage], folder / f"{name}-{seed}", tuple(changes or ()), n_words)
        for seed in range(seeds)
        for name, arm in ARMS.items()
        if not only or name in only
    ]
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for stage in ("base", "upsampler"):  # upsamplers draw from a base that is trained
            for name in pool.map(Job.run, [job for job in todo if ARMS[job.arm].stage == stage]):
                typer.echo(f"{name} done")


@app.command()
def read(folder: Folder, ocr: Annotated[str, typer.Option(help="The reader.")] = "rapidocr") -> None:
    """Read and score the pictures of all arms into ablations.duckdb, as `txtdiff-eval score` does."""
    from eval.commands.jobs import score_folder  # training and drawing need no reader
    from eval.scoring.options import ScoreOptions

    for prompts in sorted(folder.glob(f"*/*/{PROMPTS}")):
        name = f"{prompts.parent.parent.name}-{prompts.parent.name}"
        score_folder(folder / STORE, prompts.parent, prompts, name, None, [ocr], ScoreOptions())


@app.command()
def table(folder: Folder) -> None:
    """Print what each arm spells, and its paired difference from the control of its stage."""
    scores = load_scores(folder)
    last = scores[scores.images == scores.groupby("arm").images.transform("max")]
    typer.echo("| arm | exact match, each seed | mean | difference | p | letters right | difference |")
    typer.echo("|---|---|---|---|---|---|---|")
    for name, arm in ARMS.items():
        control = next(other for other in ARMS if ARMS[other].stage == arm.stage)
        mine, other = (last[last.arm == who] for who in (name, control))
        if not mine.empty:
            typer.echo(row(name, mine, other if name != control else None))
    for name, arm in ARMS.items():
        if arm.every_checkpoint:
            by_images = scores[scores.arm == name].groupby("images").em.mean()
            points = zip(by_images.index.tolist(), by_images.tolist(), strict=True)
            curve = ", ".join(f"{images / 1000:.0f}k {em:.1%}" for images, em in points)
            typer.echo(f"\n{name}, exact match after so many pictures: {curve}")


@app.command()
def readings(folder: Folder, out: Annotated[Path, typer.Argument(help="A CSV file.")]) -> None:
    """Write what was read in each picture, to recompute the table from."""
    columns = ["arm", "run", "images", "prompt_id", "txt", "reading", "em"]
    load_scores(folder).sort_values(columns[:4])[columns].to_csv(out, index=False)


def load_scores(folder: Path) -> pd.DataFrame:
    """One row per picture: arm, seed of its training, pictures seen, prompt, exact match, letters."""
    with open_store(folder / STORE, "read") as store:
        scores = store.frame(
            """SELECT s.label, t.prompt_id, p.txt, t.reading, t.em_ci::DOUBLE AS em,
                      1 - least(1, coalesce(t.n_edits, t.n_target) / t.n_target) AS letters
               FROM text_scores t JOIN settings s USING (setting_id)
               JOIN prompts p ON p.suite_id = s.suite_id AND p.prompt_id = t.prompt_id"""
        )
    parts = scores.label.str.extract(r"^(?P<arm>.*)-(?P<run>\d+)-(?P<images>\d+)$")
    return scores.join(parts.astype({"run": int, "images": int}))


def row(name: str, mine: pd.DataFrame, control: pd.DataFrame | None) -> str:
    """A line of the table."""
    seeds = " ".join(f"{em:.1%}" for em in mine.groupby("run").em.mean())
    cells = [name, seeds, f"{mine.em.mean():.1%}", "", "", f"{mine.letters.mean():.1%}", ""]
    if control is not None:
        for place, measure in ((3, "em"), (6, "letters")):
            mean, interval, p = difference(mine, control, measure)
            span = "" if interval is None else f" [{interval.low:+.1%} {interval.high:+.1%}]"
            cells[place] = f"{mean:+.1%}{span}"
            if measure == "em":
                cells[4] = f"{p:.4f}"
    return f"| {' | '.join(cells)} |"


def difference(
    mine: pd.DataFrame, control: pd.DataFrame, measure: str
) -> tuple[float, Interval | None, float]:
    """Mean over prompts of arm minus control, each pair with the same prompt and seed of training.

    Prompts are what is resampled, so the interval is for other words from these trainings; how much trainings
    differ among themselves, the column of seeds shows.
    """
    pairs = mine.merge(control, on=["prompt_id", "run"], suffixes=("", "_control"))
    by_prompt = (pairs[measure] - pairs[f"{measure}_control"]).groupby(pairs.prompt_id).mean().to_numpy(float)
    n = len(by_prompt)
    interval = ratio_interval(by_prompt, np.ones(n), bootstrap_weights(n))
    return float(by_prompt.mean()), interval, float(sign_flip_p(by_prompt[:, None])[0])


if __name__ == "__main__":
    run_app(app)
