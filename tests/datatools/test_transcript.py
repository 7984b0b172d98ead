"""Reading order, transcription and safebox."""

from __future__ import annotations

import math
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datatools.ocr import TextLine
from datatools.transcript import TranscriptSettings, keep_lines, safebox, transcription


def line(
    text: str, x: float, y: float, width: float = 0.0, height: float = 10.0, confidence: float = 0.9
) -> TextLine:
    right = x + (width or 6.0 * len(text))
    return TextLine(((x, y), (right, y), (right, y + height), (x, y + height)), text, confidence)


def turned(lines: list[TextLine], degrees: float) -> list[TextLine]:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [
        TextLine(
            tuple((x * cos - y * sin, x * sin + y * cos) for x, y in old.polygon), old.text, old.confidence
        )
        for old in lines
    ]


PAGES = {
    "one line of words": ([line("hello", 0, 0), line("world", 40, 1)], "hello world"),
    "two lines": ([line("upper", 0, 0), line("lower", 5, 12)], "upper\nlower"),
    "tight leading": ([line("upper", 0, 0, height=14), line("lower", 0, 9, height=14)], "upper\nlower"),
    "a small word beside a large one": (
        [line("BIG", 0, 0, width=80, height=30), line("tm", 85, 2, height=10)],
        "BIG tm",
    ),
    "two columns": (
        [line("one", 0, 0), line("two", 0, 12), line("three", 100, 0), line("four", 100, 12)],
        "one\ntwo\nthree\nfour",
    ),
    "heading over two columns": (
        [
            *(line("a heading that spans", 0, 0, width=130), line("one", 0, 30), line("two", 0, 42)),
            *(line("three", 100, 30), line("four", 100, 42)),
        ],
        "a heading that spans\none\ntwo\nthree\nfour",
    ),
    "words of one row far apart are no columns": ([line("left", 0, 0), line("right", 300, 0)], "left right"),
    "words close together are no columns": (
        [line("ab", 0, 0), line("cd", 18, 0), line("ef", 0, 12), line("gh", 18, 12)],
        "ab cd\nef gh",
    ),
}


@pytest.mark.parametrize(("lines", "text"), PAGES.values(), ids=PAGES.keys())
@pytest.mark.parametrize("degrees", [0, 12, -25, 90, 180])
def test_reading_order_at_any_angle(lines: list[TextLine], text: str, degrees: float) -> None:
    shuffled = turned(lines, degrees)
    random.Random(0).shuffle(shuffled)
    assert transcription(shuffled) == text


def test_text_at_another_angle_follows_the_main_text() -> None:
    main = [line("main text", 0, 0), line("second row", 0, 12)]
    side = turned([line("side", 0, 0)], 90)
    assert transcription(side + main) == "main text\nsecond row\nside"


@given(
    st.lists(
        st.tuples(st.text("abc", min_size=1), *[st.floats(-1e3, 1e3) for _ in range(8)]), max_size=12
    ).flatmap(lambda raw: st.tuples(st.just(raw), st.permutations(range(len(raw)))))
)
def test_any_polygons_give_every_line_once(case: tuple[list[tuple[object, ...]], list[int]]) -> None:
    raw, order = case
    lines = [
        TextLine(((r[1], r[2]), (r[3], r[4]), (r[5], r[6]), (r[7], r[8])), str(r[0]), 0.9)  # type: ignore[arg-type]
        for r in raw
    ]
    words = transcription([lines[i] for i in order]).split()
    assert sorted(words) == sorted(line.text for line in lines)


def test_lines_below_the_threshold_count_neither_in_text_nor_in_box() -> None:
    lines = [line("sure", 10, 10), line("guess", 200, 200, confidence=0.3)]
    kept = keep_lines(lines)
    assert transcription(kept) == "sure"
    assert safebox(kept) == (10, 10, 34, 20)
    assert transcription(lines, TranscriptSettings(min_confidence=0.2)) == "sure\nguess"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("“Quote” – dash…", '"Quote" - dash...'),
        ("ＡＢＣ　１２", "ABC 12"),
        ("naïve café", "naive cafe"),
        ("ab中cd", "abcd"),
        ("a\tb\u2028c", "a b c"),
    ],
)
def test_characters_are_folded_to_what_the_tokenizer_knows(said: str, kept: str) -> None:
    assert keep_lines([line(said, 0, 0)])[0].text == kept
    assert keep_lines([line(said, 0, 0)], TranscriptSettings(characters="any"))[0].text == " ".join(
        said.split()
    )


def test_a_line_without_a_writable_character_is_dropped() -> None:
    assert keep_lines([line("中文", 0, 0)]) == []


def test_no_lines_are_an_empty_text_and_no_box() -> None:
    assert transcription([]) == ""
    assert safebox([]) is None


def test_a_dense_page_costs_no_more_than_a_moment() -> None:
    columns = [[line(f"c{i}r{j}", 400 * i, 20 * j, 350, 15) for j in range(100)] for i in range(4)]
    page = [line for column in columns for line in column]
    random.Random(0).shuffle(page)
    started = time.process_time()
    text = transcription(page)
    assert time.process_time() - started < 5  # a minute and more, when every strip was taken for a gap
    assert text.split("\n") == [line.text for column in columns for line in column]
