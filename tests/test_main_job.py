"""The main job as a user runs it, small: the real commands, one after the other, in a folder of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from PIL import Image

N_PICTURES = 24
N_PROMPTS = 4


def run(folder: Path, *command: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run an installed command in `folder`: it must end with `status` and without a traceback."""
    environment = {
        **os.environ,
        "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"],
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "160",
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=420, check=False
    )
    assert done.returncode == status, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, their catalog, two trained stages, samples and a scored store."""
    folder = tmp_path_factory.mktemp("main-job")
    run(folder, "datatools", "synth", "images", "--n", str(N_PICTURES), "--seed", "0")
    run(folder, "datatools", "build-catalog", "images", "--catalog", "catalog.duckdb", "--workers", "1")
    for preset, out in (("mini-base", "base"), ("mini-upsampler", "upsampler")):
        job = ("train", "--preset", preset, "--catalog", "catalog.duckdb", "--out", out, "--images", "32")
        run(folder, "txtdiff", *job, "--set", "data.batch_size=8")
    stages = ("--base", "base", "--upsampler", "upsampler")
    run(folder, "txtdiff", "sample", *stages, "--txt", r"I can\nwrite", "--n", "2", "--out", "samples")
    sweep = ("--sampler", "ddim:3", "--sampler", "dpmpp_2m:2", "--guidance", "1,3")
    suite = ("--suite", "smoke", "--limit", str(N_PROMPTS), "--reference", "catalog.duckdb")
    run(folder, "txtdiff-eval", "run", *stages, *suite, *sweep, "--store", "eval.duckdb")
    return folder


@pytest.mark.slow
def test_every_picture_has_a_row_and_the_reader_reads_it(workshop: Path) -> None:
    truth = {row["key"]: row["text"] for row in map(json.loads, (workshop / "images/truth.jsonl").open())}
    with duckdb.connect(str(workshop / "catalog.duckdb"), read_only=True) as catalog:
        read = dict(catalog.sql("SELECT key, text FROM transcriptions").fetchall())
        n_boxes = catalog.sql("SELECT count(*) FROM safeboxes").fetchall()[0][0]
    assert read.keys() == truth.keys()
    assert len(truth) == N_PICTURES
    words = [
        (word, read[key].casefold().split())
        for key, text in truth.items()
        for word in text.casefold().split()
    ]
    recall = sum(word in found for word, found in words) / len(words)
    assert recall >= 0.9
    assert n_boxes >= 0.95 * N_PICTURES


@pytest.mark.slow
def test_sidecars_stand_beside_the_catalog(workshop: Path) -> None:
    rows = [json.loads(line) for line in (workshop / "safeboxes.jsonl").open()]
    assert {"key", "safebox"} <= rows[0].keys()
    assert (workshop / "px_scales.jsonl").is_file()


@pytest.mark.slow
def test_samples_are_pictures_of_the_cascade_s_size(workshop: Path) -> None:
    pictures = sorted(p for p in (workshop / "samples").glob("*.png") if p.name != "grid.png")
    assert len(pictures) == 2
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.size == (128, 128)
            assert "I can" in "".join(str(v) for v in picture.info.values())
    assert (workshop / "samples/grid.png").is_file()


@pytest.mark.slow
def test_the_leaderboard_counts_every_setting(workshop: Path) -> None:
    done = run(workshop, "txtdiff-eval", "report", "--store", "eval.duckdb", "--format", "json")
    board = json.loads(done.stdout)
    assert len(board["rows"]) == 4
    scores = board["rows"][0]["scores"]
    assert scores["em_ci"]["n_expected"] == N_PROMPTS
    assert scores["clip_desc"]["value"] is None
    assert scores["clip_desc"]["reason"]
    assert not scores["fid_clean"]["ranked"]
    assert board["rows"][0]["device"]  # whatever it was made on
    assert scores["em_unseen"]["n_expected"] > 0  # by the words of the catalog that the base was trained on


@pytest.mark.slow
def test_the_page_is_one_file_without_addresses(workshop: Path) -> None:
    run(workshop, "txtdiff-eval", "report", "--store", "eval.duckdb", "--html", "report.html")
    page = (workshop / "report.html").read_text()
    assert not re.search(r"https?://|//[a-z]+\.|<a\s|(href|src)=\"(?!data:|#)", page)


@pytest.mark.slow
def test_the_same_commands_again_redo_nothing(workshop: Path) -> None:
    again = run(workshop, "datatools", "build-catalog", "images", "--catalog", "catalog.duckdb")
    assert re.search(rf"{N_PICTURES}\D+unchanged|unchanged\D+{N_PICTURES}", again.stdout + again.stderr)
    before = {p: p.stat().st_mtime_ns for p in (workshop / "base").rglob("*.safetensors")}
    train = ("--preset", "mini-base", "--catalog", "catalog.duckdb", "--out", "base", "--images", "32")
    run(workshop, "txtdiff", "train", *train, "--set", "data.batch_size=8")
    assert before == {p: p.stat().st_mtime_ns for p in (workshop / "base").rglob("*.safetensors")}


WRONG = {
    "missing folder": (2, "datatools build-catalog nowhere --catalog x.duckdb", "nowhere"),
    "empty folder": (2, "datatools build-catalog empty --catalog x.duckdb", "empty"),
    "missing catalog": (
        2,
        "txtdiff train --preset mini-base --catalog no.duckdb --out o --images 8",
        "no.duckdb",
    ),
    "unknown preset": (
        2,
        "txtdiff train --preset maxi --catalog catalog.duckdb --out o --images 8",
        "mini-base",
    ),
    "unknown setting": (
        2,
        "txtdiff train --preset mini-base --catalog catalog.duckdb --out o --images 8 --set optim.lrr=1",
        "optim.lr",
    ),
    "missing checkpoint": (2, "txtdiff sample --base nowhere --txt hi --out o", "nowhere"),
    "unknown sampler": (2, "txtdiff sample --base base --txt hi --out o --sampler euler:5", "euler"),
    "missing store": (2, "txtdiff-eval report --store no.duckdb", "no.duckdb"),
    "a catalog is no store": (2, "txtdiff-eval report --store catalog.duckdb", "catalog.duckdb"),
    "a text is no catalog": (2, "datatools stats --catalog samples/grid.png", "grid.png"),
    "unknown suite": (2, "txtdiff-eval run --base base --suite tiny --store e.duckdb", "smoke"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("status", "line", "named"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_named_in_one_message(workshop: Path, status: int, line: str, named: str) -> None:
    (workshop / "empty").mkdir(exist_ok=True)
    done = run(workshop, *line.split(), status=status)
    assert named in done.stderr.replace("\n", "")


@pytest.mark.slow
def test_a_corrupt_picture_among_good_ones_is_a_row_with_a_cause(workshop: Path) -> None:
    mixed = workshop / "mixed"
    mixed.mkdir()
    good = sorted((workshop / "images").rglob("*.png"))[0].read_bytes()
    (mixed / "good.png").write_bytes(good)
    (mixed / "half.png").write_bytes(good[: len(good) // 2])
    (mixed / "text.jpg").write_text("not a picture")
    done = run(
        workshop,
        "datatools",
        "build-catalog",
        "mixed",
        "--catalog",
        "mixed/c.duckdb",
        "--workers",
        "1",
        status=1,
    )
    assert "truncated" in done.stderr
    with duckdb.connect(str(mixed / "c.duckdb"), read_only=True) as catalog:
        assert catalog.sql("SELECT count(*) FROM pictures").fetchall() == [(3,)]
        assert {row[0] for row in catalog.sql("SELECT key FROM failures").fetchall()} == {
            "half.png",
            "text.jpg",
        }


@pytest.mark.slow
def test_a_damaged_checkpoint_is_refused_and_named(workshop: Path, tmp_path: Path) -> None:
    run(workshop, "cp", "-r", "base", str(tmp_path / "base"))
    for weights in (tmp_path / "base").rglob("*.safetensors"):
        weights.write_bytes(weights.read_bytes()[:1000])
    done = run(
        workshop, "txtdiff", "sample", "--base", str(tmp_path / "base"), "--txt", "hi", "--out", "o", status=2
    )
    assert "base" in done.stderr
