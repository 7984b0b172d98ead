"""docs/mini-report.md says what the readings beside its recipe say, and its suite is made by the recipe."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pandas as pd

from eval.text_metrics import em

ROOT = Path(__file__).parent.parent
RECIPE = ROOT / "recipes" / "mini"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"mini_{name}", RECIPE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_follow_from_the_readings() -> None:
    report = load("report")
    page = (ROOT / "docs" / "mini-report.md").read_text("utf-8")
    for name, table in report.tables().items():
        assert f"<!-- {name} -->\n{table}\n<!-- end -->" in page, name
    pictures = report.with_prompts(pd.read_csv(report.READINGS, keep_default_na=False))
    for row in pictures.itertuples():
        assert em(str(row.txt), str(row.reading)) == bool(row.em), row


def test_the_model_card_says_the_same() -> None:
    card = (ROOT / "txtdiff" / "pretrained" / "mini" / "README.md").read_text("utf-8")
    _, _, *rows = load("report").tables()["kinds"].splitlines()
    for row in rows[:-1]:
        shown = " | ".join(row.strip("| ").split(" | ")[:4])
        assert f"| {shown} |" in card, shown


def test_the_suite_is_what_the_recipe_writes(tmp_path: Path) -> None:
    suite = load("suite")
    suite.write(tmp_path / "report.jsonl", 3, suite.one_line() + suite.seen_words())
    assert (tmp_path / "report.jsonl").read_bytes() == (RECIPE / "report.jsonl").read_bytes()
