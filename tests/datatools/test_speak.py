"""Who speaks, and how far the others agree."""

from __future__ import annotations

import pytest

from datatools.bookkeeping.speak import SpeakingRule, rule_from_json, rule_to_json, speak
from datatools.config import Speaker
from datatools.ocr import TextLine
from datatools.transcript import TranscriptSettings


def said(text: str, confidence: float) -> list[TextLine]:
    return [TextLine(((1.0, 2.0), (31.0, 2.0), (31.0, 12.0), (1.0, 12.0)), text, confidence)] if text else []


READINGS = {"a": said("stap", 0.7), "b": said("STOP", 0.8), "c": said("shop", 0.95), "d": said("stop", 0.6)}


def rule(speaker: Speaker, *engines: str) -> SpeakingRule:
    return SpeakingRule(speaker, engines, TranscriptSettings())


@pytest.mark.parametrize(
    ("speaker", "engines", "source"),
    [
        ("first", ("b", "a"), "b"),
        ("first", ("x", "d"), "d"),
        ("first", (), "a"),
        ("confident", ("a",), "c"),
        ("agreeing", ("a",), "b"),  # "stop" twice, and b comes before d
    ],
)
def test_the_rule_decides_who_speaks(speaker: Speaker, engines: tuple[str, ...], source: str) -> None:
    row = speak("k", None, READINGS, rule(speaker, *engines))
    assert row is not None
    assert row["source"] == source
    assert row["text"] == READINGS[source][0].text


def test_agreement_is_the_mean_similarity_to_the_others() -> None:
    row = speak("k", None, READINGS, rule("first", "b"))
    assert row is not None
    # stop: stap 3/4, shop 3/4, stop 1
    assert row["agreement"] == pytest.approx((0.75 + 0.75 + 1) / 3)
    alone = speak("k", None, {"a": READINGS["a"]}, rule("first"))
    assert alone is not None
    assert alone["agreement"] is None


def test_a_given_text_speaks_with_the_readers_box() -> None:
    row = speak("k", "Stop!", READINGS, rule("first", "d"))
    assert row is not None
    assert (row["source"], row["text"], row["confidence"]) == ("given", "Stop!", None)
    assert [row[side] for side in ("left", "top", "right", "bottom")] == [1, 2, 31, 12]
    assert row["agreement"] == pytest.approx((0.6 + 0.8 + 0.6 + 0.8) / 4)  # stap, stop, shop, stop


def test_silence_is_an_empty_text_and_nobody_is_no_row() -> None:
    row = speak("k", None, {"a": []}, rule("first"))
    assert row is not None
    assert (row["text"], row["n_lines"], row["left"], row["confidence"]) == ("", 0, None, None)
    assert speak("k", None, {}, rule("first")) is None


def test_the_rule_is_remembered_whole() -> None:
    whole = SpeakingRule("agreeing", ("a", "b"), TranscriptSettings(min_confidence=0.2, characters="any"))
    assert rule_from_json(rule_to_json(whole)) == whole
