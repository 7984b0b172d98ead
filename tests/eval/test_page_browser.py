"""The page in a real browser: clicked, typed into, resized; the console silent, nothing asked for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from hostile import PAYLOADS
from page_board import CEILING, make_board, read_again
from rapidfuzz.distance import Levenshtein
from test_page import hostile_board

from eval.leaderboard.board import Board
from eval.report.page import render_page


@pytest.fixture(scope="module")
def board() -> Board:
    return make_board()


@pytest.fixture(scope="module")
def page(board: Board, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_page(board), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def two_readers(board: Board, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every row read by one reader, and the first two again by another."""
    rows = [replace(row, reader="rapidocr e2e ci") for row in board.rows]
    rows += [read_again(board.rows[0], 0.75), read_again(board.rows[1], 0.25)]
    path = tmp_path_factory.mktemp("readers") / "report.html"
    path.write_text(render_page(replace(board, rows=rows)), encoding="utf-8")
    return path


@pytest.fixture
def opened(browser: Browser, page: Path) -> Browser:
    browser.media()
    browser.open(page)
    return browser


def texts(browser: Browser, selector: str) -> list[str]:
    found: list[str] = browser.run(
        f"[...document.querySelectorAll({json.dumps(selector)})].map((e) => e.textContent)"
    )
    return found


def labels(browser: Browser) -> list[str]:
    return texts(browser, "table.board tbody .name")


def column(browser: Browser, label: str) -> list[float]:
    cells = texts(browser, f'table.board td[data-label="{label}"] .value')
    return [float(text.replace("−", "-").removesuffix("23/24")) for text in cells]


def hash_of(browser: Browser) -> dict[str, str]:
    state: dict[str, str] = browser.run("Object.fromEntries(new URLSearchParams(location.hash.slice(1)))")
    return state


def assert_quiet(browser: Browser) -> None:
    assert browser.complaints() == []
    assert browser.requests() == []


def test_it_opens_with_every_part_and_asks_for_nothing(opened: Browser, board: Board) -> None:
    parts = [
        "board",
        "tradeoff",
        "compare",
        "samples",
        "heat",
        "lengths",
        "kinds",
        "readers",
        "confusions",
        "provenance",
        "methods",
    ]
    assert opened.run("[...document.querySelectorAll('main > section')].map((e) => e.id)") == parts
    assert labels(opened) == [row.label for row in board.rows]
    assert_quiet(opened)


def test_a_click_sorts_and_a_second_click_turns_it_round(opened: Browser) -> None:
    opened.click('th[data-column="cer"] button')
    assert column(opened, "CER") == sorted(column(opened, "CER"))
    assert hash_of(opened)["sort"] == "cer"
    opened.click('th[data-column="cer"] button')
    assert column(opened, "CER") == sorted(column(opened, "CER"), reverse=True)
    assert opened.run("document.querySelector('th[data-column=cer]').ariaSort") == "descending"
    opened.click('th[data-column="em_ci"] button')
    assert column(opened, "EM") == sorted(column(opened, "EM"), reverse=True)
    assert_quiet(opened)


def test_numbers_that_rank_nothing_do_not_order_rows_and_say_why(opened: Browser, board: Board) -> None:
    opened.click('th[data-column="kid"] button')
    assert labels(opened) == [row.label for row in board.rows]
    assert "orders nothing here" in texts(opened, "#board .status")[0]
    notes = texts(opened, "#board .notes li")
    assert any("orders rows from 250" in note for note in notes)
    assert any("the hub cannot be reached" in note for note in notes)
    assert set(texts(opened, 'td[data-label="CLIP"] .value')) == {"—3"}


def test_coverage_ties_and_rank_intervals_are_shown(opened: Browser, board: Board) -> None:
    assert texts(opened, "table.board .coverage") == ["23/24"]
    assert texts(opened, "table.board td.tie") == [row.tie for row in board.rows]
    low, high = board.rows[4].rank_interval or (0, 0)
    assert texts(opened, "table.board td.rank")[4] == f"5{low}–{high}"
    assert opened.run("document.querySelectorAll('table.board .whisker .span').length") > len(board.rows)


def test_intervals_stand_under_their_numbers_on_paper_too(opened: Browser, board: Board) -> None:
    scores = [row.scores["em_ci"] for row in board.rows]
    wanted = [f"{100 * (score.low or 0):.1f}–{100 * (score.high or 0):.1f}" for score in scores]
    assert texts(opened, 'table.board tbody td[data-label="EM"] .range') == wanted
    assert texts(opened, 'table.board tfoot td[data-label="KID"] .range') == ["−1.20 to 1.40"]
    assert texts(opened, 'table.board td[data-label="FID"] .range') == []
    opened.media(kind="print")
    heights = "[...document.querySelectorAll('table.board :is(.value:has(+ .range), .range)')]"
    values, ranges = [opened.run(f"{heights}.map((e) => e.offsetHeight)")[i::2] for i in (0, 1)]
    assert all(0 < small < big for big, small in zip(values, ranges, strict=True))
    opened.media()


def test_real_pictures_stand_below_the_rows_whatever_their_order(opened: Browser, board: Board) -> None:
    [floor] = board.floors
    for act in ("th[data-column=cer] button", "th[data-column=fid_clean] button"):
        opened.click(act)
        assert texts(opened, "table.board tfoot .name") == [floor.label]
        assert floor.label not in labels(opened)
    assert texts(opened, 'table.board tfoot td[data-label="FID"] .value') == ["41.5"]
    assert texts(opened, 'table.board tfoot td[data-label="KID"] .value') == ["0.10"]
    assert texts(opened, 'table.board tfoot td[data-label="EM"] .value') == []
    assert_quiet(opened)


def test_typing_filters_rows_and_the_address_keeps_it(opened: Browser, page: Path) -> None:
    opened.key("/")
    opened.type("plms s=3")
    assert labels(opened) == ["plms:20 s=3"]
    assert hash_of(opened) == {"q": "plms s=3"}
    opened.open(page.as_uri() + "#q=unipc&sort=cer&down=1&theme=dark")
    assert all(label.startswith("unipc") for label in labels(opened))
    assert column(opened, "CER") == sorted(column(opened, "CER"), reverse=True)
    assert opened.run("document.documentElement.dataset.theme") == "dark"
    assert_quiet(opened)


def test_columns_can_be_chosen(opened: Browser) -> None:
    opened.click(".picker summary")
    opened.run(
        "[...document.querySelectorAll('.checks label')]"
        ".find((e) => e.textContent === 'NED').firstChild.click()"
    )
    assert "ned" not in hash_of(opened)["columns"].split(",")
    assert texts(opened, 'td[data-label="NED"]') == []


def test_two_rows_side_by_side_count_what_python_counts(opened: Browser, board: Board) -> None:
    first, last = board.rows[0], board.rows[9]
    opened.click(f'tr[data-row="{first.setting_id}"] .pick button:first-child')
    opened.click(f'tr[data-row="{last.setting_id}"] .pick button:last-child')
    right = {
        row.setting_id: {s.prompt_id for s in board.samples if s.setting_id == row.setting_id and s.em_ci}
        for row in (first, last)
    }
    a, b = right[first.setting_id], right[last.setting_id]
    cells = [int(text) for text in texts(opened, "#compare .duel div .counts td") if text]
    pair = board.pairs[first.setting_id, last.setting_id]
    assert cells == [pair.n_both, pair.n_first, pair.n_second, pair.n_neither]
    assert f"Only A is right: {len(a - b)}" in texts(opened, "#compare h3")
    assert f"Only B is right: {len(b - a)}" in texts(opened, "#compare h3")
    verdict = texts(opened, "#compare .verdict-line")[0]
    assert f"B − A between −30.0 and +5.0 points of EM, p = {pair.p:.3f}" in verdict
    assert hash_of(opened) == {"a": first.setting_id, "b": last.setting_id}
    opened.click("#compare .controls button")  # the same from the other side
    assert "B − A between −5.0 and +30.0 points of EM" in texts(opened, "#compare .verdict-line")[0]
    cells = [int(text) for text in texts(opened, "#compare .duel div .counts td") if text]
    assert cells == [pair.n_both, pair.n_second, pair.n_first, pair.n_neither]
    assert_quiet(opened)


def test_prompts_without_text_are_no_pairs(browser: Browser, board: Board, tmp_path: Path) -> None:
    silent = [
        replace(s, txt=" \n", reading="", em_ci=True) if s.prompt_id == "word-000" else s
        for s in board.samples
    ]
    page = tmp_path / "silent.html"
    # Not tested against each other, so that what the page holds is counted.
    page.write_text(render_page(replace(board, samples=silent, pairs={})), encoding="utf-8")
    first, other = board.rows[0], board.rows[9]
    browser.open(page.as_uri() + f"#a={first.setting_id}&b={other.setting_id}")
    assert sum(int(text) for text in texts(browser, "#compare .duel div .counts td") if text) == 23
    [status] = texts(browser, "#compare .duel .status")
    tops = "[...document.querySelectorAll('#compare .duel > *')].map((e) => e.offsetTop)"
    assert len(set(browser.run(tops))) == 1  # the counts beside the numbers, not below
    assert status == "23 pictures with text, same prompt and same noise, in this page."
    assert_quiet(browser)


def gaps(browser: Browser) -> dict[str, str]:
    """The class of B - A in the comparison by the label of the number: who won it."""
    found: dict[str, str] = browser.run(
        "Object.fromEntries([...document.querySelectorAll('#compare .duel > .counts tbody tr')]"
        ".map((e) => [e.firstChild.firstChild.data, e.lastChild.className]))"
    )
    return found


def test_numbers_that_rank_nothing_are_not_won(browser: Browser, page: Path, two_readers: Path) -> None:
    first, last = make_board().rows[0], make_board().rows[9]
    browser.open(page.as_uri() + f"#a={first.setting_id}&b={last.setting_id}")
    assert gaps(browser)["EM"] == "won-a"
    assert {gaps(browser)[name] for name in ("FID", "KID")} == {"unranked"}
    browser.open(two_readers.as_uri() + f"#a={last.setting_id}&b={first.setting_id}@p2")
    assert {gaps(browser)[name] for name in ("EM", "CER", "FID", "KID")} == {"unranked"}
    assert_quiet(browser)


def test_another_reader_s_rows_are_not_shown_with_what_the_first_one_read(
    browser: Browser, board: Board, two_readers: Path
) -> None:
    a, b = (row.setting_id for row in board.rows[:2])
    only = "This page holds pictures and tests of rapidocr e2e ci alone"
    for pair in (f"a={a}@p2&b={b}@p2", f"a={a}&b={b}@p2", f"a={a}@p2&b={a}"):
        browser.open(two_readers.as_uri() + f"#{pair}&row={a}@p2")
        for part in ("compare", "samples", "lengths", "kinds", "confusions"):
            [note] = texts(browser, f"#{part} .other-reader")
            assert note.startswith(only)
            assert "--filter 'protocol_id = p2'" in note
        shown = browser.run("document.getElementById('compare').textContent")
        assert "p = " not in shown and "cannot be told apart" not in shown
        for selector in ("#compare .flips", "#compare .duel div", "#compare .sample", "#samples .sample"):
            assert texts(browser, selector) == []
        assert texts(browser, "#compare .duel .counts th[scope=row]")[0].startswith("EM")
    heads = texts(browser, "#kinds thead th")[1:]
    assert heads == [board.rows[0].label]
    browser.open(two_readers.as_uri() + f"#a={a}&b={b}")
    assert texts(browser, ".other-reader") == []
    assert "Read by rapidocr e2e ci." in texts(browser, "#compare .verdict-line")[0]
    assert_quiet(browser)


def test_a_setting_read_twice_has_two_names(browser: Browser, board: Board, two_readers: Path) -> None:
    browser.open(two_readers)
    names = texts(browser, "#compare select[aria-label=A] option")
    assert len(set(names)) == len(names) == 1 + len(board.rows) + 2
    assert names[1] == f"{board.rows[0].label} · rapidocr e2e ci"
    assert names[-2] == f"{board.rows[0].label} · easyocr e2e ci"
    assert_quiet(browser)


def test_rows_answer_to_the_keyboard(opened: Browser, board: Board) -> None:
    opened.run("document.querySelector('table.board tbody tr').focus()")
    opened.key("a")
    opened.key("ArrowDown")
    opened.key("b")
    assert hash_of(opened) == {"a": board.rows[0].setting_id, "b": board.rows[1].setting_id}
    opened.key("Enter")
    assert hash_of(opened)["row"] == board.rows[1].setting_id
    opened.key("t")
    assert opened.run("document.documentElement.dataset.theme") == "dark"
    opened.key("?")
    assert opened.run("document.getElementById('help').open") is True


def sample_filter(browser: Browser, label: str, value: str) -> None:
    quoted = json.dumps([label, value])
    browser.run(
        "(([label, value]) => {"
        " const e = document.querySelector(`#samples select[aria-label='${label}']`);"
        f" e.value = value; e.dispatchEvent(new Event('change')); }})({quoted})"
    )


def test_samples_are_filtered_and_their_letters_aligned(opened: Browser, board: Board) -> None:
    row = board.rows[5]
    mine = [s for s in board.samples if s.setting_id == row.setting_id]
    opened.click("#samples .toggle[title^='Every row']")
    sample_filter(opened, "setting", row.setting_id)
    counted: list[Any] = opened.run(
        "[...document.querySelectorAll('#samples .ladder')]"
        ".map((e) => e.querySelectorAll('.pair:not(.same)').length)"
    )
    assert counted == [Levenshtein.distance(s.txt, s.reading) for s in mine]
    assert opened.run("document.querySelectorAll('#samples polygon').length") == sum(
        len(s.lines) for s in mine
    )
    for outcome, wanted in (
        ("right", [s for s in mine if s.em_ci]),
        ("silent", [s for s in mine if not s.reading]),
        ("wrong", [s for s in mine if s.reading and not s.em_ci]),
    ):
        sample_filter(opened, "outcome", outcome)
        assert len(texts(opened, "#samples .sample")) == len(wanted)
    sample_filter(opened, "outcome", "all")
    sample_filter(opened, "kind of text", "lines-2")
    assert len(texts(opened, "#samples .sample")) == sum(s.stratum == "lines-2" for s in mine)
    opened.click("#samples .toggle[title^='Where the reader']")
    assert opened.run("document.querySelectorAll('#samples polygon').length") == 0
    assert_quiet(opened)


def test_rows_of_one_prompt_stand_together(opened: Browser, board: Board) -> None:
    first = texts(opened, "#samples .aligned")[0]
    same = [s for s in board.samples if s.prompt_id == "word-000"]
    assert f"{sum(s.em_ci for s in same)} of {len(same)} right" in first


def test_any_two_numbers_make_a_frontier(opened: Browser, board: Board) -> None:
    costs = [(row.seconds_per_picture or 0, row.scores["em_ci"].value or 0) for row in board.rows]
    front = [c for c in costs if not any(o[0] <= c[0] and o[1] >= c[1] and o != c for o in costs)]
    assert opened.run("document.querySelectorAll('#tradeoff .point.front').length") == len(front)
    opened.run(
        "(() => { const e = document.querySelector('#tradeoff select'); e.value = 'cer';"
        " e.dispatchEvent(new Event('change')); })()"
    )
    assert "CER, % ← better" in texts(opened, "#tradeoff .title")
    assert_quiet(opened)


def test_the_ceiling_is_drawn_and_other_protocols_stand_apart(
    browser: Browser, board: Board, tmp_path: Path
) -> None:
    other = replace(
        board.rows[0], protocol_id="p2", label="the same pictures, another reader", rank=1, tie="a"
    )
    path = tmp_path / "two.html"
    suite = replace(
        board.rows[1], setting_id="other", suite_id="dev-1", label="another suite", rank=1, tie="a"
    )
    path.write_text(render_page(replace(board, rows=[*board.rows, other, suite])), encoding="utf-8")
    browser.open(path)
    assert browser.run("document.querySelectorAll('#lengths .ceiling').length") == 1
    assert "20 rows of 19 settings" in texts(browser, "#top .lead")[0]
    browser.click('th[data-column="em_ci"] button')
    assert labels(browser)[-2:] == [other.label, suite.label]
    assert texts(browser, "tr.foreign .name") == [other.label, suite.label]
    assert texts(browser, "tr.foreign .lock") == ["other protocol", "other suite"]
    assert "2 protocols" in texts(browser, "#provenance .status")[0]
    assert_quiet(browser)


@pytest.mark.parametrize(("width", "height"), [(390, 844), (820, 1180), (1280, 900)])
def test_nothing_is_cut_off_at_any_width(browser: Browser, page: Path, width: int, height: int) -> None:
    browser.open(page, width, height)
    assert browser.run("document.documentElement.scrollWidth") <= width
    # What chooses a row is in the window, and no interval runs into the next column.
    ends = "[...document.querySelectorAll('.board tbody .pick button')]"
    assert browser.run(f"Math.max(...{ends}.map((e) => e.getBoundingClientRect().right))") <= width - 10
    wide = "[...document.querySelectorAll('.board .range')].filter((e) => e.scrollWidth > e.clientWidth)"
    assert browser.run(f"{wide}.length") == 0
    assert_quiet(browser)


def test_a_base_and_its_cascade_have_grids_of_their_own(
    browser: Browser, board: Board, tmp_path: Path
) -> None:
    rows = [replace(row, size_px=(64, 128)[i % 2]) for i, row in enumerate(board.rows)]
    page = tmp_path / "sizes.html"
    page.write_text(render_page(replace(board, rows=rows)), encoding="utf-8")
    browser.open(page)
    wanted = {f"{row.spec['stages'][0]['sampler']}, {row.size_px} px" for row in rows}
    assert set(texts(browser, ".heat h3")) == wanted
    assert len(texts(browser, ".heat td:not(.none)")) == len(rows)
    assert_quiet(browser)


def test_each_size_has_the_ceiling_of_its_own(browser: Browser, board: Board, tmp_path: Path) -> None:
    small = replace(board.rows[0], size_px=64)
    large = replace(board.rows[1], size_px=128, ceiling_id="large")
    bare = replace(board.rows[2], size_px=256, ceiling_id=None)
    most = {"large": [("q", "g", 3)]}
    lengths = board.em_by_length | {"large": board.em_by_length[CEILING]}
    two = replace(board, rows=[small, large, bare], em_by_length=lengths, confusions=board.confusions | most)
    page = tmp_path / "ceilings.html"
    page.write_text(render_page(two), encoding="utf-8")
    browser.open(page)
    keys = texts(browser, "#lengths .legend span")
    assert keys[3:] == [f"what the reader reads of typeset text of {px} px" for px in (64, 128)]
    assert len(texts(browser, "#lengths path.ceiling")) == 2
    note = "document.querySelector('#confusions .status').textContent"
    assert "share among the reader's own errors" in browser.run(note)
    browser.run(f"location.hash = 'row={bare.setting_id}'")
    browser.wait(f"{note}.includes('not calibrated for this row')")
    assert_quiet(browser)


def test_one_ceiling_says_whose_it_is_where_other_rows_have_none(
    browser: Browser, board: Board, tmp_path: Path
) -> None:
    sizes = [replace(board.rows[0], size_px=32, ceiling_id=None), replace(board.rows[1], size_px=128)]
    page = tmp_path / "bare.html"
    page.write_text(render_page(replace(board, rows=sizes)), encoding="utf-8")
    browser.open(page)
    assert texts(browser, "#lengths .legend span")[2:] == ["what the reader reads of typeset text of 128 px"]
    assert f"without one: {sizes[0].label}." in texts(browser, "#lengths figcaption")[0]
    assert_quiet(browser)


def test_kinds_of_error_stand_beside_the_reader_s_own(opened: Browser) -> None:
    mine, typeset = (texts(opened, f"#confusions .errors tbody tr:nth-child({i}) td") for i in (1, 2))
    assert mine == ["6.0", "3.0", "1.0", "0.5", "4.0"]
    assert typeset == ["0.9", "0.4", "0.0", "0.0", "0.1"]


def test_readers_agree_so_far(opened: Browser, board: Board) -> None:
    lines = [texts(opened, f"#readers tbody tr:nth-child({i + 1}) > *") for i in range(len(board.agreements))]
    assert lines[0] == [
        board.rows[0].label,
        "rapidocr, tesseract",
        "24",
        "75.0 [50.0, 90.0]",
        "0.910",
        "0.60 [0.30, 0.90]",
    ]
    assert lines[1][3:] == ["100.0 [86.0, 100.0]", "1.000", "—"]
    assert_quiet(opened)


def test_kinds_of_text_are_counted_apart(browser: Browser, page: Path, board: Board) -> None:
    row = board.rows[0]
    browser.open(page.as_uri() + f"#a={row.setting_id}")
    cells = [int(text) for text in texts(browser, "#kinds .value")]
    expected = []
    for stratum in sorted({sample.stratum for sample in board.samples}):
        mine = [s for s in board.samples if s.setting_id == row.setting_id and s.stratum == stratum]
        expected.append(int(100 * sum(s.em_ci for s in mine) / len(mine) + 0.5))
    assert cells == expected
    assert_quiet(browser)


def test_print_leaves_the_controls_out(opened: Browser) -> None:
    opened.media(kind="print")
    assert opened.run("getComputedStyle(document.getElementById('nav')).display") == "none"
    opened.media()


def test_hostile_text_stays_text(browser: Browser, board: Board, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    path.write_text(render_page(hostile_board(board)), encoding="utf-8")
    browser.open(path.as_uri() + "#align=0&more=40")
    for selector in ("th[data-column=em_ci] button", "#samples .toggle", "tr[data-row] .pick button"):
        browser.click(selector)
    browser.run("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
    assert browser.run("window.owned") is None
    tags = "script,iframe,object,embed,base,form,video,audio,marquee,math,template,style,link,a"
    found = sorted(browser.run(f"[...document.querySelectorAll('{tags}')].map((e) => e.localName)"))
    assert found == ["link", "script", "script", "script", "style"]
    handlers = browser.run(
        "[...document.querySelectorAll('*')]"
        ".filter((e) => [...e.attributes].some((a) => a.name.startsWith('on'))).length"
    )
    assert handlers == 0
    shown = browser.run("document.getElementById('provenance').textContent")
    assert all(text in shown for text in PAYLOADS if not any(c in text for c in "\ud800\x00\u2028\u2029"))
    assert_quiet(browser)


def test_a_board_without_rows_still_opens(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "empty.html"
    path.write_text(render_page(Board([], [], [], {}, "", {})), encoding="utf-8")
    browser.open(path)
    assert_quiet(browser)
