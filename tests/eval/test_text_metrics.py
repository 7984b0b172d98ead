"""Text metrics: the specification's edge cases, parity with jiwer, and what must hold for every pair."""

from __future__ import annotations

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datatools.errors import InputError
from eval.text_metrics import (
    NORMALISERS,
    cer,
    char_scores,
    em,
    line_acc,
    line_prec,
    ned,
    normalise,
    trigram_sim,
    wer,
    word_prf,
)
from eval.text_metrics.normalisers import flat, lines_of

TEXTS = st.text(
    st.one_of(st.sampled_from("abcABC 01ilIO|\n.,-'’“é\u0301ﬁ²字ß"), st.characters(codec="utf-8")),
    max_size=24,
)
PLAIN = st.text("abc xyz", max_size=20).map(str.strip).filter(bool)


@pytest.mark.parametrize(
    ("text", "normaliser", "expected"),
    [
        ("  Two \t words \n\n next  ", "strict", "Two words\nnext"),
        ("a\n \n\x1c\n b\x1fc", "strict", "a\nb c"),
        ("e\u0301t\u00e9", "strict", "\u00e9t\u00e9"),
        ("A\r\nB\u2028C", "strict", "A\nB\nC"),
        ("STRASSE ﬁne", "ci", "strasse fine"),
        ("Straße", "ci", "strasse"),
        ("‘It’s’ — “so”", "ci", "'it's' - \"so\""),
        ("It's 5 $, ok!", "alnum", "its 5 ok"),
        ("a b\nc", "nospace", "abc"),
        ("0O1lI|i", "confusable", "oolllll"),
    ],
)
def test_normalisers_fold_exactly_what_they_say(text: str, normaliser: str, expected: str) -> None:
    assert normalise(text, normaliser) == expected  # type: ignore[arg-type]


@given(TEXTS, st.sampled_from(NORMALISERS))
def test_normalising_twice_changes_nothing(text: str, normaliser: str) -> None:
    once = normalise(text, normaliser)  # type: ignore[arg-type]
    assert normalise(once, normaliser) == once  # type: ignore[arg-type]


@given(TEXTS, st.sampled_from(NORMALISERS))
def test_lines_are_those_of_the_normalised_text(text: str, normaliser: str) -> None:
    lines = lines_of(text, normaliser)  # type: ignore[arg-type]
    assert all(normalise(line, normaliser) == line for line in lines)  # type: ignore[arg-type]
    if normaliser != "nospace":
        assert "\n".join(lines) == normalise(text, normaliser)  # type: ignore[arg-type]


def test_an_unknown_normaliser_is_named() -> None:
    with pytest.raises(InputError, match="Did you mean 'strict'"):
        normalise("a", "strikt")  # type: ignore[arg-type]


def test_exact_match_joins_lines_and_folds_case_unless_strict() -> None:
    assert em("I can\nwrite", "i CAN write")
    assert not em("I can\nwrite", "i CAN write", "strict")
    assert em("I can\nwrite", "ican write", "nospace")
    assert not em("word", "words")


def test_nothing_read_is_the_worst_but_for_an_empty_target() -> None:
    assert (em("a", ""), cer("abc", ""), ned("abc", ""), wer("a b", "")) == (False, 1.0, 0.0, 1.0)
    assert word_prf("a b", "") == (0.0, 0.0, 0.0)
    assert (line_acc("a", ""), line_prec("a", ""), trigram_sim("a", "")) == (0.0, 0.0, 0.0)
    assert (em("", ""), cer("", ""), ned("", ""), wer("", "")) == (True, 0.0, 1.0, 0.0)
    assert (line_acc("", ""), trigram_sim("", ""), ned("", "abc"), line_acc("", "a")) == (1.0, 1.0, 0.0, 0.0)


def test_error_rates_may_exceed_one() -> None:
    assert cer("a", "abcd") == 3.0
    assert wer("a", "b c d") == 3.0


def test_a_cluster_of_code_points_is_one_character() -> None:
    assert cer("👩‍👩‍👧x", "👩‍👧x") == 0.5
    assert cer("x̱y", "zy") == 0.5


def test_words_and_lines_are_multisets() -> None:
    assert word_prf("to be or not to be", "be be be") == (2 / 3, 2 / 6, pytest.approx(4 / 9))
    assert line_acc("one\ntwo\ntwo", "two\none\nmore\nmore") == 2 / 3
    assert line_prec("one\ntwo\ntwo", "two\none\nmore\nmore") == 2 / 4


def test_trigrams_follow_the_ngram_package() -> None:
    # The example of the ngram package's own documentation.
    assert trigram_sim("spa", "spam") == 0.375
    assert trigram_sim("aaaa", "aa") == pytest.approx(4 / 6)


@given(PLAIN, PLAIN)
def test_error_rates_equal_jiwer(target: str, reading: str) -> None:
    target, reading = flat(target), flat(reading)
    assert cer(target, reading) == pytest.approx(jiwer.cer(target, reading))
    assert wer(target, reading) == pytest.approx(jiwer.wer(target, reading))
    measures = jiwer.process_words(target, reading)
    assert wer(target, reading) == pytest.approx(measures.wer)


@given(TEXTS, TEXTS, st.sampled_from(NORMALISERS))
def test_every_pair_stays_in_range(target: str, reading: str, normaliser: str) -> None:
    pair = (target, reading, normaliser)
    match = em(*pair)  # type: ignore[arg-type]
    similarity, error = ned(*pair), cer(*pair)  # type: ignore[arg-type]
    assert 0 <= similarity <= 1
    assert match == (similarity == 1) == (error == 0)
    assert similarity == ned(reading, target, normaliser)  # type: ignore[arg-type]
    for value in (*word_prf(*pair), *char_scores(*pair), line_acc(*pair), trigram_sim(*pair)):  # type: ignore[arg-type]
        assert 0 <= value <= 1


@given(TEXTS)
def test_a_text_matches_itself(text: str) -> None:
    assert (cer(text, text), ned(text, text), trigram_sim(text, text), line_acc(text, text)) == (0, 1, 1, 1)
