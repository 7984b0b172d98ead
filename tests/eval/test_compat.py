"""Compat scores: each quirk that sets it apart from ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from eval_fakes import fill, right, store_path

from eval.store import open_store
from eval.store.lines import compat_lines, query_lines
from eval.text_metrics.compat import (
    Pair,
    anytext_scores,
    compat_scores,
    glyph_scores,
    longtext_recall,
    mario_scores,
    oneig_text,
    strict_ned_path,
    textatlas_scores,
)


def test_mario_is_blind_to_order_and_word_ends() -> None:
    assert mario_scores([Pair("open late", "Late\nOPEN")])["mario_acc"] == 1
    assert mario_scores([Pair("ab c", "abc")])["mario_acc"] == 1
    scores = mario_scores([Pair("a b", "a x"), Pair("c", "")])
    assert (scores["mario_p"], scores["mario_r"], scores["mario_f"]) == (0.25, 0.25, 0.25)


def test_anytext_counts_lines_with_case() -> None:
    scores = anytext_scores([Pair("One\nTwo", "One\ntwo")])
    assert scores["anytext_senacc"] == 0.5
    assert scores["anytext_ned"] == pytest.approx((1 + 1 - 1 / 3.00001) / 2)


def test_glyphcontrol_forgives_further_text_and_forgets_empty_pictures() -> None:
    scores = glyph_scores([Pair("stop", "noise\nstop"), Pair("go", "")])
    assert (scores["glyph_acc"], scores["glyph_ld"]) == (0.5, 0)
    assert glyph_scores([Pair("go", "")])["glyph_ld"] is None
    assert glyph_scores([Pair("Go", "go")])["glyph_acc_lower"] == 1


def test_strict_divides_by_the_path() -> None:
    assert strict_ned_path([Pair("abc", "abd")])["strict_ned_path"] == pytest.approx(1 / 3)
    assert strict_ned_path([Pair("ab", "abcd")])["strict_ned_path"] == pytest.approx(2 / 4)
    assert strict_ned_path([Pair("abc", "")])["strict_ned_path"] == 1
    assert strict_ned_path([Pair("", "")])["strict_ned_path"] == 0


def test_oneig_multiplies_three_faults() -> None:
    pairs = [Pair("open late", "open lat"), Pair("go", "go")]
    # ED 1/2, CR 1/2, WAC 2/3.
    assert oneig_text(pairs)["oneig_text"] == pytest.approx(1 - 0.5 * 0.5 * (1 / 3) / 100)


def test_oneig_counts_chinese_by_characters() -> None:
    """Blanks go, and 50 edits are the most; two texts without a character in common are all wrong."""
    assert oneig_text([Pair("你好 世界", "再见朋友")])["oneig_text"] == pytest.approx(1 - 4 / 50)
    assert oneig_text([Pair("你好世界", "你好。世介")])["oneig_text"] == pytest.approx(1 - 1 / 50 / 4)


def test_marks_of_any_kind_are_nothing_to_oneig_and_longtext() -> None:
    pairs = [Pair("don’t panic — café", "don't panic café")]
    assert oneig_text(pairs)["oneig_text"] == longtext_recall(pairs)["longtext_recall"] == 1


def test_longtext_is_recall_alone() -> None:
    assert longtext_recall([Pair("Open, late!", "late open and much more open")])["longtext_recall"] == 1


def test_textatlas_takes_a_typo_for_right() -> None:
    scores = textatlas_scores([Pair("store", "stole"), Pair("", "x")])
    assert scores["textatlas_acc"] == scores["textatlas_f1"] == 1
    assert scores["textatlas_cer"] == pytest.approx(1 / 5)
    assert textatlas_scores([Pair("go", "gx")])["textatlas_acc"] == 0
    other_case = textatlas_scores([Pair("Open Late", "open\nlate")])
    assert other_case["textatlas_f1"] == 1
    assert other_case["textatlas_cer"] == pytest.approx(2 / 9)


def test_compat_scores_are_printed_per_setting(tmp_path: Path) -> None:
    assert compat_scores([]) == {}
    with open_store(store_path(tmp_path), "write") as store:
        fill(store, {"right": right})
        head, _, line = compat_lines(store)
        assert next(compat_lines(store, "csv")).startswith("setting,reader,protocol,n,mario_acc")
        [whole] = query_lines(store, "SELECT repeat('x', 100) AS x", "jsonl")
        assert whole == '{"x": "' + "x" * 100 + '"}'
    assert "mario_acc" in head
    assert line.split()[0] == "right"
