"""Every benchmark and endurance test of the lists, in its short form."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import run  # noqa: E402

BENCHMARKS = [benchmark for name in run.LISTS for benchmark in run.read_list(name)]


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda benchmark: benchmark.name)
def test_the_short_form_of_every_benchmark_runs_and_prints_a_table(benchmark: Any) -> None:
    command = [sys.executable, str(benchmark.script), *benchmark.short]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "\n|---|" in done.stdout.replace(" ", "")


def test_a_result_replaces_the_one_before_and_keeps_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "RESULTS", tmp_path / "RESULTS.md")
    first, second = (benchmark.name for benchmark in BENCHMARKS[:2])
    for name, what in ((second, "old"), (first, "one"), (second, "new")):
        run.put(f"## {name}\n\n{what}\n")
    written = (tmp_path / "RESULTS.md").read_text()
    assert written == f"{run.HEAD}\n## {first}\n\none\n\n## {second}\n\nnew\n"


def test_names_are_unique_and_every_script_is_there() -> None:
    names = [benchmark.name for benchmark in BENCHMARKS]
    assert len(set(names)) == len(names)
    assert all((ROOT / benchmark.script).is_file() for benchmark in BENCHMARKS)
