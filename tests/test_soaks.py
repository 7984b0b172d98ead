"""Every endurance test in its short form. A file of its own: files are what the suite's workers share out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from short_runs import Mother
from test_benchmarks import run


@pytest.fixture(scope="module")
def mother() -> Iterator[Mother]:
    with Mother() as mother:
        yield mother


@pytest.mark.parametrize("soak", run.read_list("soak"), ids=lambda soak: soak.name)
def test_the_short_form_of_every_endurance_test_runs_and_prints_a_table(
    soak: Any, mother: Mother, tmp_path: Path
) -> None:
    done = mother.run(soak.script, soak.short, tmp_path / "said")
    assert done.returncode == 0, done.stderr
    assert "\n|---|" in done.stdout.replace(" ", "")
