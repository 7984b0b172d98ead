"""The command as one types it: exit statuses, messages, options with and without a value."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_reader import draw
from test_build import build

from datatools.cli import app
from datatools.errors import InputError
from datatools.synth import SynthOptions, make_pictures


def run(*words: str, cwd: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "200"}
    command = [sys.executable, "-m", "datatools", *words]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    make_pictures(folder / "in", SynthOptions(n=6, seed=3))
    return folder


def test_the_main_job_of_the_data_tools(pictures: Path) -> None:
    done = run(
        *("build-catalog", "in", "--catalog", "c.duckdb", "--workers", "1", "--write-txt"),
        *("--sidecars", "fork", "--retry"),
        cwd=pictures,
    )
    assert "6 pictures: 6 read" in done.stderr
    assert done.stdout == ""
    truth = [json.loads(line) for line in (pictures / "in/truth.jsonl").open()]
    read = [(pictures / "in" / row["key"]).with_suffix(".txt").read_text() for row in truth]
    assert sum(text == row["text"] for text, row in zip(read, truth, strict=True)) >= 5
    assert len(json.loads((pictures / "safeboxes.jsonl").read_text())) == 6
    stats = run("stats", "--catalog", "c.duckdb", cwd=pictures).stdout
    assert "word recall of rapidocr against the known truth" in stats
    answer = run("query", "SELECT count(*) AS n FROM captions", "--catalog", "c.duckdb", cwd=pictures).stdout
    assert answer.split() == ["n", "--", "12"]
    twice = "SELECT a.key, b.key, b.key FROM captions a JOIN captions b USING (key) LIMIT 1"
    for form in ("table", "csv", "jsonl"):
        answer = run("query", twice, "--catalog", "c.duckdb", "--format", form, cwd=pictures).stdout
        assert answer.count("000/000000.png") == 3
    run("check", "--catalog", "c.duckdb", "--hash", cwd=pictures)


def test_write_txt_takes_a_folder_too(tmp_path: Path) -> None:
    make_pictures(tmp_path / "in", SynthOptions(n=1))
    run(
        "build-catalog", "in", "--catalog", "c.duckdb", "--write-txt", "texts", "--workers", "1", cwd=tmp_path
    )
    assert (tmp_path / "texts/000/000000.txt").is_file()
    assert not list((tmp_path / "in").rglob("*.txt"))


def test_an_interrupted_build_exits_with_130_and_goes_on(tmp_path: Path) -> None:
    make_pictures(tmp_path / "in", SynthOptions(n=400))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [
        sys.executable,
        "-m",
        "datatools",
        "build-catalog",
        "in",
        "--catalog",
        "c.duckdb",
        "--workers",
        "1",
    ]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment)
    while not (tmp_path / "c.duckdb").exists():
        time.sleep(0.05)
    time.sleep(2.5)  # of the ten or more that the whole build takes
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said
    assert "run the same command again" in " ".join(said.split())


@pytest.mark.parametrize("package", ["datatools", "txtdiff", "eval"])
def test_ctrl_c_while_the_command_loads_leaves_in_silence(package: str) -> None:
    script = f"""
import os, signal, sys
import {package}.__main__ as command

class PressingCtrlC:
    def find_spec(self, name, path=None, target=None):
        if name == "{package}.cli":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, PressingCtrlC())
command.main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")


WRONG = {
    "unknown command": (("biuld-catalog",), "biuld-catalog"),
    "unknown option": (("build-catalog", "in", "--catalog", "c.duckdb", "--wrokers", "2"), "--wrokers"),
    "missing folder": (("build-catalog", "nowhere", "--catalog", "x.duckdb"), "nowhere"),
    "unknown reader": (("build-catalog", "in", "--catalog", "x.duckdb", "--ocr", "rapidorc"), "rapidorc"),
    "synth, small size": (("synth", "x", "--size", "8"), "--size"),
    "synth, large size": (("synth", "x", "--size", "4000"), "--size"),
    "synth, no pictures": (("synth", "x", "--n", "0"), "--n 0"),
    "synth, too many": (("synth", "x", "--n", "200M"), "100000000"),
    "synth, seed": (("synth", "x", "--seed", "-1"), "--seed"),
    "gallery of none": (("gallery", "--catalog", "c.duckdb", "--limit", "0"), "--limit 0"),
    "shards of none": (
        ("export", "x", "--catalog", "c.duckdb", "--format", "webdataset", "--shard", "0"),
        "--shard 0",
    ),
    "no pixels": (("build-catalog", "in", "--catalog", "c.duckdb", "--max-pixels", "0"), "--max-pixels 0"),
    "no bytes": (("build-catalog", "in", "--catalog", "c.duckdb", "--max-bytes", "0"), "--max-bytes 0"),
    "no memory": (("build-catalog", "in", "--catalog", "c.duckdb", "--memory-limit", "1"), "--memory-limit"),
    "subcommand's help": (("query", "--fromat", "csv"), "datatools query --help"),
    "truth of something else": (("stats", "--catalog", "c.duckdb", "--truth", "in/a.png"), "a.png, line 1"),
    "empty query": (("query", "", "--catalog", "c.duckdb"), "asks for no rows"),
    "query of a remark": (("query", "/* nothing */", "--catalog", "c.duckdb"), "asks for no rows"),
    "catalog below a file": (("build-catalog", "in", "--catalog", "in/a.png/c.duckdb"), "in/a.png cannot"),
    "missing catalog": (("stats", "--catalog", "nowhere.duckdb"), "nowhere.duckdb"),
    "refused query": (("query", "SELECT * FROM read_text('/etc/passwd')", "--catalog", "c.duckdb"), "passwd"),
    "export over a folder": (
        ("export", "in", "--catalog", "c.duckdb", "--format", "fork"),
        "in is there already",
    ),
}


@pytest.fixture(scope="module")
def one_picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wrong")
    draw(folder / "in/a.png", "word")
    build(folder / "in", folder / "c.duckdb")
    return folder


@pytest.mark.parametrize(("words", "named"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_named_with_status_2(one_picture: Path, words: tuple[str, ...], named: str) -> None:
    done = run(*words, cwd=one_picture, status=2)
    assert named in done.stderr
    assert done.stdout == ""
    assert not (one_picture / "x.duckdb").exists()


def test_failures_give_status_1_and_a_table(tmp_path: Path) -> None:
    make_pictures(tmp_path / "in", SynthOptions(n=1))
    (tmp_path / "in/empty.png").touch()
    done = run("build-catalog", "in", "--catalog", "c.duckdb", "--workers", "1", cwd=tmp_path, status=1)
    assert "empty" in done.stderr
    assert "1 read" in done.stderr


def test_a_cause_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="there is no cause 'timeuot'"):
        app(
            ["build-catalog", "in", "--catalog", "c.duckdb", "--retry=timeuot"],
            standalone_mode=False,
        )


def test_the_documented_import_in_the_folder_of_its_own_files(tmp_path: Path) -> None:
    draw(tmp_path / "photos/a.png", "unread")
    (tmp_path / "photos/a.txt").write_text("text of a")
    given = {
        "safeboxes.jsonl": '{"a": [1, 2, 30.5, 20]}',
        "px_scales.jsonl": '{"key": "a.png", "px_scale": [2, 1.5]}\n',
        "capts.json": '{"a": ["one"]}',
        "sizes.jsonl": '{"key": "a.png", "original_size": [32, 64]}\n',
    }
    for name, content in given.items():
        (tmp_path / name).write_text(content)
    page = (Path(__file__).parents[2] / "docs/data-formats.md").read_text()
    first, second = (line.split()[1:] for line in page.splitlines() if line.startswith("datatools import "))
    ask = ("query", 'SELECT "left", top, "right", bottom, sx, sy FROM safeboxes JOIN px_scales USING (key)')
    for _ in range(2):
        assert "safebox: 1 pictures" in run(*first, cwd=tmp_path).stderr
        answer = run(*ask, "--catalog", "photos.duckdb", "--format", "csv", cwd=tmp_path).stdout
        assert answer.splitlines()[1].split(",") == ["1.0", "2.0", "30.5", "20.0", "2.0", "1.5"]
    for name in ("safeboxes.jsonl", "px_scales.jsonl"):
        assert given[name] in {path.read_text() for path in tmp_path.glob(f"{name}*")}
    run(*second, cwd=tmp_path)
    answer = run(*ask, "--catalog", "photos.duckdb", "--format", "csv", cwd=tmp_path).stdout
    assert answer.splitlines()[1].endswith("2.0,0.5")
    run("check", "--catalog", "photos.duckdb", cwd=tmp_path)


def test_an_import_of_a_broken_file_writes_nothing(tmp_path: Path) -> None:
    draw(tmp_path / "photos/a.png", "unread")
    (tmp_path / "safeboxes.jsonl").write_text("half a")
    done = run(
        *("import", "photos", "--catalog", "c.duckdb", "--safeboxes", "safeboxes.jsonl"),
        cwd=tmp_path,
        status=2,
    )
    assert "safeboxes.jsonl is neither" in done.stderr
    assert (tmp_path / "safeboxes.jsonl").read_text() == "half a"
    assert not (tmp_path / "c.duckdb").exists()


def test_txt_files_that_cannot_be_written_give_status_1_and_a_table(tmp_path: Path) -> None:
    make_pictures(tmp_path / "in", SynthOptions(n=1))
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/000").write_text("no folder")
    words = ("build-catalog", "in", "--catalog", "c.duckdb", "--write-txt", "texts", "--workers", "1")
    done = run(*words, cwd=tmp_path, status=1)
    assert "1 .txt files could not be written" in done.stderr
    assert "texts/000/000000.txt" in done.stderr
    assert json.loads((tmp_path / "safeboxes.jsonl").read_text())["key"] == "000/000000.png"
