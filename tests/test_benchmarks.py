"""Every benchmark in its short form, and how results are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import run
from short_runs import ROOT, Mother

BENCHMARKS = run.read_list("bench")


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda benchmark: benchmark.name)
def test_the_short_form_of_every_benchmark_runs_and_prints_a_table(
    benchmark: run.Benchmark, mother: Mother, tmp_path: Path
) -> None:
    assert "\n|---|" in mother.printed(benchmark, tmp_path / "said")


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
    benchmarks = [benchmark for name in run.LISTS for benchmark in run.read_list(name)]
    names = [benchmark.name for benchmark in benchmarks]
    assert len(set(names)) == len(names)
    assert all((ROOT / benchmark.script).is_file() for benchmark in benchmarks)
