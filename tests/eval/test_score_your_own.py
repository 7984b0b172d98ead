"""The page for people with pictures of their own: its first commands and its Python run as they stand."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from datatools.synth import make_pictures
from datatools.synth.options import SynthOptions
from eval.suites.public_prompts import PROMPT_FORMATS

PAGE = (Path(__file__).parents[2] / "docs" / "score-your-own.md").read_text(encoding="utf-8")


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A picture with known text, and the prompts file of the page's form."""
    make_pictures(tmp_path / "pictures", SynthOptions(n=1, size_px=128, seed=1))
    truth = [json.loads(line) for line in (tmp_path / "pictures" / "truth.jsonl").read_text().splitlines()]
    rows = [{"file": row["key"], "txt": row["text"], "seed": 0} for row in truth]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def run(words: list[str], folder: Path) -> str:
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_three_commands_end_with_a_leaderboard_and_a_page(workplace: Path) -> None:
    commands = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)[0].strip().splitlines()
    assert len(commands) == 3
    for command in commands:
        words = shlex.split(command)[1:]
        # Nothing is asked of a model hub, whether there is one or not.
        run(["-m", "eval", *words, *(["--clip-model", "none"] if words[0] == "score" else [])], workplace)
    table = run(["-m", "eval", "report", "--store", "eval.duckdb", "--format", "csv"], workplace)
    [row] = csv.DictReader(io.StringIO(table))
    assert row["label"] == "my model"
    assert float(row["em_ci"]) == float(row["em_rel"]) == 1
    assert (workplace / "report.html").stat().st_size > 10_000


def test_the_python_of_the_page_runs(workplace: Path) -> None:
    [program] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    printed = run(["-c", program], workplace)
    assert printed.startswith("True 0.1")
    assert "my model rapidocr e2e ci" in printed


def test_every_format_has_its_row() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ", PAGE.split("## Prompt files")[1].split("\n## ")[0], re.MULTILINE)
    assert sorted(rows) == sorted(set(PROMPT_FORMATS) - {"auto", "jsonl"})
