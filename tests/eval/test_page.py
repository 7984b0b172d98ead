"""The page as text: same bytes, no address, within its budget, and strangers' words stay words."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hostile import PAYLOADS
from page_board import make_board, read_again

from datatools.ocr import TextLine
from eval.leaderboard.board import Board, BoardRow, BoardSample
from eval.metrics.score import Score
from eval.reading.agreement import Agreement, ReaderPair
from eval.report.page import render_page
from eval.report.thumbnails import make_thumbnails


@pytest.fixture(scope="module")
def board() -> Board:
    return make_board()


@pytest.fixture(scope="module")
def page(board: Board) -> str:
    return render_page(board)


def hostile_board(board: Board) -> Board:
    """The same board with a payload in every place that a stranger's text can reach."""

    def sample(i: int, old: BoardSample) -> BoardSample:
        text = PAYLOADS[i % len(PAYLOADS)]
        lines = [TextLine(line.polygon, text, line.confidence) for line in old.lines]
        return replace(old, txt=text, capt=text, reading=text[::-1], stratum=text, lines=lines)

    def row(i: int, old: BoardRow) -> BoardRow:
        text = PAYLOADS[i % len(PAYLOADS)]
        none = Score(None, reason=text)
        return replace(
            old,
            label=text,
            spec={text: text, "sampler": text},
            scores=old.scores | {"kid": none},
            tie=text[:3],
            reader=text,
        )

    return replace(
        board,
        suite=PAYLOADS[1],
        rows=[row(i, old) for i, old in enumerate(board.rows)],
        samples=[sample(i, old) for i, old in enumerate(board.samples)],
        provenance={text: text for text in PAYLOADS},
        confusions={key: [(text, text[::-1], 2) for text in PAYLOADS] for key in board.confusions},
        agreements=[ReaderPair(text, text, text[::-1], Agreement(0)) for text in PAYLOADS],
    )


class Outline(HTMLParser):
    """Elements with their attribute names, and the text of script elements, as a parser sees them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: Counter[tuple[str, ...]] = Counter()
        self.scripts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag, *sorted(name for name, _ in attrs)] += 1
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script":
            self.scripts[-1] += data


def test_the_same_board_gives_the_same_bytes(board: Board, page: str) -> None:
    assert render_page(board) == page
    assert render_page(make_board()) == page


def test_it_holds_no_address_and_no_link(page: str) -> None:
    assert "://" not in page
    assert "http:" not in page
    assert "<a " not in page
    assert re.findall(r'(?:href|src)="([^"]*)"', page) == ["data:,"]
    assert "innerHTML" not in page


def test_hostile_text_adds_no_element_and_no_attribute(board: Board, page: str) -> None:
    hostile = render_page(hostile_board(board))
    assert len(PAYLOADS) >= 60
    assert Outline(hostile).elements == Outline(page).elements
    assert len(Outline(hostile).scripts) == 3
    assert "evil.invalid" not in re.sub(r"<script.*?</script>", "", hostile, flags=re.DOTALL)
    assert "://" not in hostile


def test_hostile_text_survives_as_data(board: Board) -> None:
    data = json.loads(Outline(render_page(hostile_board(board))).scripts[2])
    texts = {prompt["txt"] for prompt in data["prompts"]}
    readable = {text for text in PAYLOADS[:24] if "\ud800" not in text}
    assert readable <= texts


def test_the_policy_admits_this_script_and_no_other(page: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert "default-src &#39;none&#39;" in policy[1]
    assert "unsafe-inline" not in policy[1]


def test_pictures_are_thinned_to_the_budget_for_all_rows_alike(board: Board, page: str) -> None:
    budget = len(page) - 150_000
    small = render_page(board, max_bytes=budget)
    assert len(small.encode()) <= budget
    data = json.loads(Outline(small).scripts[2])
    shown = [data["thumbnails"][i] is not None for i in range(len(board.samples))]
    assert 0 < sum(shown) < len(shown)
    by_prompt = Counter(s.prompt_id for s, has in zip(board.samples, shown, strict=True) if has)
    assert set(by_prompt.values()) == {len(board.rows)}


def test_bytes_that_are_no_picture_give_no_thumbnail(board: Board) -> None:
    samples = [replace(board.samples[0], png=png) for png in (b"", b"junk", board.samples[0].png[:100])]
    assert make_thumbnails(samples, 10**6) == [None, None, None]


def test_numbers_that_are_no_numbers_become_reasons(board: Board) -> None:
    row = replace(
        board.rows[0], scores={"em_ci": Score(float("nan"), n=3, n_expected=3)}, spec={"x": float("inf")}
    )
    data = json.loads(Outline(render_page(replace(board, rows=[row]))).scripts[0])
    assert data["rows"][0]["scores"]["em_ci"]["reason"] == "not a finite number"
    assert "value" not in data["rows"][0]["scores"]["em_ci"]


def test_samples_belong_to_rows_of_the_first_reader_wherever_they_stand(board: Board) -> None:
    first, second = board.rows[:2]
    rows = [first, read_again(second, 0.5), second]
    data = json.loads(Outline(render_page(replace(board, rows=rows))).scripts[2])
    wanted = {first.setting_id: 0, second.setting_id: 2}
    assert data["samples"]["row"] == [wanted.get(sample.setting_id, -1) for sample in board.samples]


def test_an_empty_board_is_a_page(board: Board) -> None:
    empty = Board(rows=[], samples=[], metrics=[], provenance={}, suite="", counts={})
    assert "<main" in render_page(empty)
