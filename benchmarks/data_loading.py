"""Reading training pictures, in multiples of what the mini preset consumes on the same cores.

    python benchmarks/data_loading.py --n 256

The same synthetic pictures as JPEGs of 256 px (quality 90), decoded whole and reduced, and as a packed set of
64 px, all with boxes, captions and the crops of `mini-base`. A round reads n of each into batches, in this
process, as a worker would, and takes training steps with a batch that is there already.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer
from harness import interleaved, ratio, table
from PIL import Image

from datatools.build import build_catalog
from datatools.catalog import open_catalog
from datatools.config import BuildSettings
from datatools.export.pack import pack_catalog
from datatools.importing import Sources, import_sidecars, read_sources
from datatools.synth import SynthOptions, make_pictures
from txtdiff.config import RunConfig
from txtdiff.config_files import make_config, preset_layer
from txtdiff.data.batch import Batch, conditions_of, load_batches
from txtdiff.data.dataset import PictureDataset
from txtdiff.data.order import rank_positions
from txtdiff.data.source import read_rows
from txtdiff.training.distributed import Ranks
from txtdiff.training.start import start_or_resume
from txtdiff.training.step import train_step

TRAINED = 24  # pictures a round that are trained on, in batches of 8

How = Literal["full", "reduced"]


def main(
    n: Annotated[int, typer.Option(help="Pictures read from each source in a round.")] = 256,
    rounds: Annotated[int, typer.Option(help="Rounds.")] = 7,
) -> None:
    """Print a row for each source."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        catalog = make_jpegs(folder, min(n, 256))
        with open_catalog(catalog) as opened:
            pack_catalog(opened, folder / "packed", 64)
        sources = {
            "packed set, 64 px": preset({"folder": str(folder / "packed")}),
            "JPEG, 256 px, reduced": preset({"catalog": str(catalog), "jpeg_decoding": "reduced"}),
            "JPEG, 256 px, full": preset({"catalog": str(catalog), "jpeg_decoding": "full"}),
        }
        contenders: dict[str, Callable[[], object]] = {
            source: reader(config, n) for source, config in sources.items()
        }
        contenders["training"] = trainer(sources["packed set, 64 px"], folder / "run")
        spent = interleaved(contenders, rounds)
    per_trained = [seconds / TRAINED for seconds in spent.pop("training")]
    targets = {"packed set, 64 px": "50", "JPEG, 256 px, reduced": "5"}
    print(f"n = {n} pictures a source and round, {rounds} rounds; mini-base trains at "
          f"{1 / min(per_trained):.0f} pictures a CPU-s at best\n")  # fmt: skip
    rows = [
        (
            source,
            f"{n / min(seconds):.0f}",
            ratio(per_trained, [s / n for s in seconds]),
            targets.get(source, ""),
        )
        for source, seconds in spent.items()
    ]
    print(table(("source", "pictures a CPU-s", "times what training consumes", "target"), rows))


def make_jpegs(folder: Path, n: int) -> Path:
    """A catalog of n synthetic JPEGs that were transcribed by hand, as it were; no reader is asked."""
    pictures = folder / "pictures"
    make_pictures(pictures, SynthOptions(n=n, size_px=256, write_txt=True))
    boxes = {}
    for line in (pictures / "truth.jsonl").read_text("utf-8").splitlines():
        truth = json.loads(line)
        path = pictures / truth["key"]
        with Image.open(path) as image:
            image.convert("RGB").save(path.with_suffix(".jpg"), quality=90)
        path.unlink()
        boxes[path.stem] = truth["safebox"]
    (pictures / "captions.jsonl").write_text(
        (pictures / "captions.jsonl").read_text("utf-8").replace(".png", ".jpg"), "utf-8"
    )
    (folder / "boxes.json").write_text(json.dumps(boxes))
    build_catalog(str(pictures), folder / "catalog.duckdb", BuildSettings(ocr=(), workers=1))
    with open_catalog(folder / "catalog.duckdb", "write") as catalog:
        import_sidecars(catalog, read_sources(Sources(safeboxes=folder / "boxes.json")))
    return folder / "catalog.duckdb"


def preset(data: dict[str, str]) -> RunConfig:
    """mini-base with this source."""
    return make_config(preset_layer("mini-base"), {"data": data, "run": {"images": 10**9, "device": "cpu"}})


def batches(config: RunConfig, n: int) -> list[Batch]:
    """The first n pictures of a run, read by this process."""
    model, data = config.model, config.data
    dataset = PictureDataset(
        read_rows(data, "needed"), data, resolution_px=model.image_size_px, seed=0, uses_text=True
    )
    positions = rank_positions(0, n, data.batch_size)
    return list(
        load_batches(dataset, positions, conditions_of(model), workers=0, prefetch=2, pin_memory=False)
    )


def reader(config: RunConfig, n: int) -> Callable[[], object]:
    """Reads n pictures; rows and tokenizer are there before the clock starts."""
    model, data = config.model, config.data
    dataset = PictureDataset(
        read_rows(data, "needed"), data, resolution_px=model.image_size_px, seed=0, uses_text=True
    )

    def read() -> None:
        positions = rank_positions(0, n, data.batch_size)
        for _ in load_batches(
            dataset, positions, conditions_of(model), workers=0, prefetch=2, pin_memory=False
        ):
            pass

    return read


def trainer(config: RunConfig, out: Path) -> Callable[[], object]:
    """Takes training steps with pictures that are read already."""
    ready = batches(config, TRAINED)
    ranks, device = Ranks(), torch.device("cpu")
    state = start_or_resume(config, out, device, ranks)
    state.network.train()

    def train() -> None:
        for batch in ready:
            train_step(state, batch, state.network, ranks, device)

    return train


if __name__ == "__main__":
    typer.run(main)
