"""Scoring pictures that were scored before: the same numbers, and no network or reader is opened."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import open_clip
import pytest

from datatools.synth import SynthOptions, make_pictures
from eval.networks.clip_weights import DEFAULT_HUB, DEFAULT_MODEL
from eval.store import open_store

COSTLY = ("torch", "open_clip", "torchmetrics", "onnxruntime", "rapidocr", "cv2")
COMMAND = (
    "import sys, eval.cli\n"
    "try: eval.cli.main()\n"
    f"finally: print(*(name for name in {COSTLY} if name in sys.modules))"
)


def run(folder: Path, *words: str) -> list[str]:
    """Costly modules that the command imported."""
    done = subprocess.run([sys.executable, "-c", COMMAND, *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.usefixtures("inception")
def test_pictures_scored_before_cost_no_network(tmp_path: Path) -> None:
    for name, seed in {"pictures": 1, "real": 2}.items():
        make_pictures(tmp_path / name, SynthOptions(n=3, size_px=64, seed=seed))
    truth = [json.loads(line) for line in (tmp_path / "pictures" / "truth.jsonl").read_text().splitlines()]
    rows = [{"file": row["key"], "txt": row["text"], "capt": "letters"} for row in truth]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    build = [sys.executable, "-m", "datatools", "build-catalog", "real", "--catalog", "real.duckdb"]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
    words = ["score", "pictures", "--prompts", "prompts.jsonl", "--store", "eval.duckdb"]
    words += ["--reference", "real.duckdb", "--clip-model", "tiny"]
    assert set(run(tmp_path, *words)) == set(COSTLY)
    first = kept(tmp_path)
    assert {metric for _, metric, value, *_ in first if value is not None} >= {
        "em_ci",
        "fid_clean",
        "clip_full",
    }
    assert run(tmp_path, *words) == []
    assert kept(tmp_path) == first


def kept(folder: Path) -> list[tuple[object, ...]]:
    with open_store(folder / "eval.duckdb") as store:
        return store.rows("SELECT setting_id, metric, value, low, high, n, reason FROM scores ORDER BY ALL")


def test_what_is_known_of_the_default_clip_is_what_open_clip_says() -> None:
    assert open_clip.get_pretrained_cfg(*DEFAULT_MODEL)["hf_hub"] == DEFAULT_HUB["hf_hub"]
