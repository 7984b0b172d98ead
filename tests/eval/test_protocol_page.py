"""The page that numbers are cited by says what the code does."""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path
from typing import get_args

from datatools.ocr.enlarge import EnlargeSettings
from eval.fidelity import FID_MIN_PICTURES
from eval.fidelity.infinity import MIN_R_SQUARED
from eval.scoring.fidelity_measures import FIDELITY_METRICS, KID_MIN_PICTURES, PRECISION_MIN_PICTURES
from eval.scoring.options import ScoreOptions
from eval.store.schema import SCHEMA_VERSION
from eval.suites import bundled_suites, load_suite
from eval.sweep.options import SweepOptions, make_sweep
from eval.text_metrics.normalisers import Normaliser

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation-protocol.md").read_text(encoding="utf-8")


def test_enlarging_is_what_readers_do() -> None:
    given = EnlargeSettings()
    said = (
        f"by a whole factor, {given.kernel}, until the short side has {given.short_side_px} px, "
        f"at most {given.max_factor}x"
    )
    assert said in PAGE


def test_thresholds_are_those_of_the_code() -> None:
    assert f"Lines below confidence {ScoreOptions().min_confidence} are not counted" in PAGE
    assert f"FID orders rows only from {FID_MIN_PICTURES:,} pictures on both sides" in PAGE
    assert f"KID from {KID_MIN_PICTURES}" in PAGE
    assert f"from {PRECISION_MIN_PICTURES:,} |" in PAGE
    assert f"none when R² < {MIN_R_SQUARED} or n < {math.ceil(1.2 * FID_MIN_PICTURES):,}" in PAGE
    assert all(f"`{metric}`" in PAGE for metric in FIDELITY_METRICS)
    assert f"schema version {SCHEMA_VERSION}" in PAGE


def test_every_normaliser_has_its_row() -> None:
    section = PAGE.split("## Normalisers")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)`", section, re.MULTILINE) == list(get_args(Normaliser))


def test_every_axis_of_a_sweep_is_named_and_the_file_shown_is_one() -> None:
    section = PAGE.split("## Sweeps")[1].split("\n## ")[0]
    assert all(f"`{axis}`" in section for axis in SweepOptions.model_fields)
    make_sweep(tomllib.loads(section.split("```toml")[1].split("```")[0]))


def test_suites_have_the_sizes_of_their_files() -> None:
    for name in bundled_suites():
        suite = load_suite(name)
        assert f"| `{name}` | {len(suite.prompts):,} x {suite.images_per_prompt} |" in PAGE
