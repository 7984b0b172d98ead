"""Every endurance test in its short form. A file of its own: files are what the suite's workers share out."""

from __future__ import annotations

from pathlib import Path

import pytest
import run
from short_runs import Mother


@pytest.mark.parametrize("soak", run.read_list("soak"), ids=lambda soak: soak.name)
def test_the_short_form_of_every_endurance_test_runs_and_prints_a_table(
    soak: run.Benchmark, mother: Mother, tmp_path: Path
) -> None:
    assert "\n|---|" in mother.printed(soak, tmp_path / "said")
