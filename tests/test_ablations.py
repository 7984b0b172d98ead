"""The arms of recipes/mini/ablations.py go together, and its table is that of the readings beside it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from eval.text_metrics import em

RECIPE = Path(__file__).parent.parent / "recipes" / "mini"


@pytest.fixture(scope="module")
def ablations() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ablations", RECIPE / "ablations.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ablations"] = module  # its dataclasses look there for the names of types
    spec.loader.exec_module(module)
    return module


def test_each_arm_changes_its_control_and_nothing_else(ablations: ModuleType) -> None:
    for name, arm in ablations.ARMS.items():
        control = next(other for other in ablations.ARMS.values() if other.stage == arm.stage)
        config, other = arm.config(1, 32, ()), control.config(1, 32, ())
        assert (config == other) == (arm is control), name
        assert (config.run, config.data.synth) == (other.run, other.data.synth), name


def test_the_table_follows_from_the_readings(ablations: ModuleType) -> None:
    readings = pd.read_csv(RECIPE / "ablations.csv", keep_default_na=False)
    for row in readings.itertuples():
        assert em(str(row.txt), str(row.reading)) == bool(row.em), row
    last = readings[readings.images == readings.groupby("arm").images.transform("max")]
    control = last[last.arm == "control"]
    page = (RECIPE / "README.md").read_text("utf-8")
    for arm, mine in last.groupby("arm"):
        assert f"| {mine.em.mean():.1%} |".replace("%", " %") in page, arm
    mean, interval, _ = ablations.difference(last[last.arm == "v"], control, "em")
    shown = f"{mean * 100:+.1f} [{interval.low * 100:+.1f} {interval.high * 100:+.1f}]"
    assert f"| {shown} |" in page
