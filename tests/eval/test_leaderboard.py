"""Ranks, ties and what every form of report shows of them."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from eval_fakes import fill, half, right, small_suite, store_path, wrong
from rich.console import Console

from datatools.errors import InputError
from eval.cli import report_main
from eval.leaderboard import load_board
from eval.leaderboard.board import Board, BoardRow
from eval.leaderboard.comparison import compare_settings
from eval.metrics.registry import all_metrics
from eval.metrics.score import Score
from eval.reading.protocol import Protocol
from eval.report.exports import export_board
from eval.report.options import ReportOptions
from eval.report.selection import (
    Condition,
    choose_metrics,
    failing_rows,
    filter_rows,
    parse_condition,
    sort_rows,
)
from eval.report.terminal import format_score, print_board
from eval.report.writing import write_report
from eval.run import write_plan
from eval.scoring.steps import score_again
from eval.store import open_store
from eval.store.labels import distinct_labels
from eval.store.lines import compat_lines
from eval.suites.listing import kinds_lines, suites_lines
from eval.sweep import make_setting

HOSTILE = "[red]x[/] <script>alert(1)</script> | & _ % \x1b[31m =1+1"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with three settings: always right, half right, never right."""
    path = store_path(tmp_path_factory.mktemp("board"))
    with open_store(path, "write") as store:
        fill(store, {"wrong": wrong, HOSTILE: half, "right": right}, small_suite(40))
    return path


@pytest.fixture(scope="module")
def board(path: Path) -> Board:
    with open_store(path) as store:
        return load_board(store)


def test_rows_stand_in_order_with_ranks_and_ties(board: Board) -> None:
    assert [row.label for row in board.rows] == ["right", HOSTILE, "wrong"]
    assert [row.rank for row in board.rows] == [1, 2, 3]
    assert [row.tie for row in board.rows] == ["a", "b", "c"]
    assert [row.rank_interval for row in board.rows] == [(1, 1), (2, 2), (3, 3)]
    assert all(test.p < 0.05 for test in board.pairs.values())
    first, second, third = (row.setting_id for row in board.rows)
    halves = board.pairs[first, second]
    assert (halves.n_both, halves.n_first, halves.n_second, halves.n_neither) == (21, 18, 0, 0)
    assert halves.low < 21 / 39 - 1 < halves.high < 0
    nothing = board.pairs[first, third]
    assert (nothing.n_both, nothing.n_first, nothing.low, nothing.high) == (0, 39, -1, -1)
    assert board.counts == {"expected": 120, "done": 120, "no_text": 0, "failed": 0, "unread": 0}


def test_rows_that_cannot_be_told_apart_share_a_letter(tmp_path: Path) -> None:
    nearly = lambda cell: "zzz" if cell.prompt.id == "p3" else cell.prompt.txt  # noqa: E731
    with open_store(store_path(tmp_path), "write") as store:
        fill(store, {"nearly": nearly, "right": right}, small_suite(40))
        rows = load_board(store).rows
    assert [(row.label, row.rank, row.tie) for row in rows] == [("right", 1, "a"), ("nearly", 2, "a")]
    assert rows[0].rank_interval == (1, 1) or rows[0].rank_interval == (1, 2)


def test_other_protocols_and_other_pictures_are_ranked_apart(tmp_path: Path) -> None:
    with open_store(store_path(tmp_path), "write") as store:
        plan, protocol = fill(store, {"right": right, "wrong": wrong})
        score_again(store, [setting.id for setting in plan.settings], Protocol(protocol.reader_id, 0.95))
        fill(store, {"more": right}, small_suite(9))
        rows = load_board(store).rows
    assert [(row.label, row.rank) for row in rows] == [
        ("more", 1),
        ("right", 1),
        ("wrong", 2),
        ("right", 1),
        ("wrong", 1),
    ]
    assert len({row.protocol_id for row in rows}) == 2


def test_the_same_store_gives_the_same_board(path: Path, board: Board) -> None:
    with open_store(path) as store:
        assert load_board(store) == board


def test_samples_are_the_same_prompts_for_every_row(path: Path) -> None:
    with open_store(path) as store:
        board = load_board(store, max_pictures=12)
    prompts = {
        row.setting_id: [s.prompt_id for s in board.samples if s.setting_id == row.setting_id]
        for row in board.rows
    }
    assert len({tuple(chosen) for chosen in prompts.values()}) == 1
    assert len(board.samples) == 12
    sample = board.samples[0]
    assert sample.png.startswith(b"\x89PNG")
    assert (sample.width_px, sample.height_px) == (32, 32)


def test_em_by_length_adds_up_to_all_pictures_with_text(board: Board) -> None:
    for row in board.rows:
        bins = board.em_by_length[row.setting_id]
        assert sum(part.n for part in bins) == 39
        em = sum(part.em * part.n for part in bins) / 39
        assert em == pytest.approx(row.scores["em_ci"].value)
        assert all(part.low <= part.em <= part.high for part in bins)


def test_a_score_without_a_value_needs_its_reason() -> None:
    with pytest.raises(ValueError, match="reason"):
        Score(None)


def test_the_table_shows_intervals_and_neither_markup_nor_control_characters(board: Board) -> None:
    console = Console(file=io.StringIO(), width=220, force_terminal=False)
    print_board(board, board.rows, choose_metrics(board, ["em_ci", "halluc_rate"]), console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "leaderboard" in shown
    assert "[red]x[/]" in shown
    assert "\x1b" not in shown
    assert "100.0 [91.0 100.0]" in shown


def test_a_narrow_terminal_leaves_metrics_out_and_squeezes_nothing(board: Board) -> None:
    metrics = choose_metrics(board, ["all"])
    for width in (80, 120, 400):
        console = Console(file=io.StringIO(), width=width, force_terminal=False)
        print_board(board, board.rows, metrics, console)
        shown = console.file.getvalue()  # type: ignore[attr-defined]
        table, _, notes = shown.partition("too narrow for: ")
        assert "…" not in table
        assert all(word in table for word in ("rank", "tie", "pictures", "100.0 [91.0 100.0]", "s/picture"))
        left_out = notes.splitlines()[0].removesuffix(" (--metric NAME chooses, --format md has all)")
        labels = [metric.label for metric in metrics]
        assert left_out in [", ".join(labels[i:]) for i in range(1, len(labels))]
        assert "scores of text are over the 39 of each row that were to hold text" in shown


def test_numbers_that_rank_nothing_leave_the_order(board: Board) -> None:
    """And rows of another protocol are never sorted in among the first ones."""
    fids = [3.0, 1.0, 2.0]
    rows = [
        replace(row, scores=row.scores | {"fid_clean": Score(fid, reason="biased", ranked=False)})
        for row, fid in zip(board.rows, fids, strict=True)
    ]
    told = replace(board, rows=rows, metrics=all_metrics())
    assert sort_rows(told, "fid_clean") == rows
    ranked = [
        replace(row, scores=row.scores | {"fid_clean": Score(fid)})
        for row, fid in zip(rows, fids, strict=True)
    ]
    assert sort_rows(replace(told, rows=ranked), "fid_clean") == [ranked[1], ranked[2], ranked[0]]
    two = [ranked[0], replace(ranked[1], protocol_id="other"), ranked[2]]
    assert sort_rows(replace(told, rows=two), "fid_clean") == [two[2], two[0], two[1]]


def test_conditions_choose_rows_and_gates_name_them(board: Board) -> None:
    assert [row.label for row in filter_rows(board.rows, [parse_condition("em_ci>0.4")])] == [
        "right",
        HOSTILE,
    ]
    assert [row.label for row in filter_rows(board.rows, [parse_condition("label = wrong")])] == ["wrong"]
    assert sort_rows(board, "cer")[0].label == "right"
    assert sort_rows(board, "em_ci")[-1].label == "wrong"
    assert len(failing_rows(board, [parse_condition("em_ci < 0.8")])) == 2
    assert not failing_rows(board, [parse_condition("n_evaluations != 7")])


@pytest.mark.parametrize("text", ["em_ci", "< 3", "em_ci ~ 3", ""])
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="condition"):
        parse_condition(text)


def test_unknown_names_are_errors_with_a_suggestion(board: Board) -> None:
    with pytest.raises(InputError, match="Did you mean 'em_ci'"):
        choose_metrics(board, ["em_cj"])
    with pytest.raises(InputError, match="no row has"):
        filter_rows(board.rows, [parse_condition("smapler = ddim")])


def test_a_gate_without_a_value_fails(board: Board) -> None:
    board.rows[0].scores["none"] = Score(None, reason="not today", ranked=False)
    try:
        assert "no value" in failing_rows(board, [parse_condition("none > 3")])[0]
    finally:
        del board.rows[0].scores["none"]


def test_files_hold_the_numbers_of_the_board(board: Board) -> None:
    metrics = choose_metrics(board, ["em_ci", "cer"])
    em = [row.scores["em_ci"].value for row in board.rows]
    document = json.loads(export_board(board, board.rows, metrics, "json"))
    assert [row["scores"]["em_ci"]["value"] for row in document["rows"]] == em
    table = list(csv.DictReader(io.StringIO(export_board(board, board.rows, metrics, "csv").decode())))
    assert [float(row["em_ci"]) for row in table] == em
    assert table[0]["cer_n"] == table[0]["cer_n_expected"] == "39"
    assert table[0]["reader"] == board.rows[0].reader
    assert table[0]["suite"] == board.rows[0].suite_id
    parquet = pq.read_table(io.BytesIO(export_board(board, board.rows, metrics, "parquet")))
    assert parquet["em_ci"].to_pylist() == em
    assert parquet["em_ci_ranked"].to_pylist() == [True] * 3


def test_printed_forms_keep_hostile_labels_harmless(board: Board) -> None:
    metrics = choose_metrics(board, ["em_ci"])
    markdown = export_board(board, board.rows, metrics, "md").decode()
    assert "<script>" not in markdown.replace("\\<", "")
    assert len(markdown.splitlines()) == 2 + 3
    assert {line.replace("\\|", "").count("|") for line in markdown.splitlines()} == {7}
    latex = export_board(board, board.rows, metrics, "latex").decode()
    assert r"\& \_ \%" in latex
    assert latex.count(r"\\") == 4


def test_printed_forms_say_who_read_how_many_were_made_and_what_a_mark_means(board: Board) -> None:
    biased = Score(81.25, n=3, n_expected=4, reason="biased: n = 3\n\\end of 4", ranked=False)
    row = replace(board.rows[0], n_pictures=(3, 4), scores=board.rows[0].scores | {"fid_clean": biased})
    metrics = choose_metrics(replace(board, metrics=all_metrics()), ["em_ci", "fid_clean"])
    markdown = export_board(board, [row, board.rows[1]], metrics, "md").decode()
    head, _, first, second, _, note = markdown.splitlines()
    assert head.split(" | ")[3:5] == ["read by", "pictures"]
    assert first.split(" | ")[3:5] == [row.reader, "3/4"]
    assert first.endswith(r"81.25 \* |")
    assert second.split(" | ")[4] != "3/4"
    assert note == r"\* biased: n = 3 \\end of 4"
    latex = export_board(board, [row], metrics, "latex").decode()
    assert "81.25 *" in latex
    assert latex.splitlines()[-1] == r"% * biased: n = 3 \end of 4"


def test_settings_that_share_a_label_are_told_apart_everywhere(tmp_path: Path) -> None:
    with open_store(store_path(tmp_path), "write") as store:
        plan, _ = fill(store, {"right": right, "wrong": wrong})
        store.execute("UPDATE settings SET label = 'ddim:10 s=4'")
        ids = [setting.id for setting in plan.settings]
        labels = distinct_labels(store)
        assert [labels[key] for key in ids] == [f"ddim:10 s=4, {key[:6]}" for key in ids]
        assert {row.label for row in load_board(store).rows} == set(labels.values())
        _, _, *lines = compat_lines(store)
        assert [line.split()[2] for line in lines] == [key[:6] for key in ids]
        [found] = compare_settings(store, labels[ids[0]], store, labels[ids[1]])
        assert (found.em_a, found.em_b) == (1, 0)
        with pytest.raises(InputError, match="2 settings are called"):
            compare_settings(store, "ddim:10 s=4", store, ids[0])
        store.execute("UPDATE samples SET width_px = 64, height_px = 64 WHERE setting_id = ?", [ids[0]])
        assert distinct_labels(store) == {ids[0]: "ddim:10 s=4, 64 px", ids[1]: "ddim:10 s=4, 32 px"}


def test_a_filter_rules_page_samples_and_totals_and_leaves_ranks(path: Path, tmp_path: Path) -> None:
    only = partial(filter_rows, conditions=[parse_condition("label = wrong")])
    with open_store(path) as store:
        whole, board = load_board(store), load_board(store, only=only)
    [row] = board.rows
    assert row == whole.rows[-1]
    assert row.rank == 3
    assert board.counts["expected"] * 3 == whole.counts["expected"]
    assert {sample.setting_id for sample in board.samples} == {row.setting_id} == set(board.em_by_length)
    assert board.pairs == {}
    page = tmp_path / "page.html"
    write_report(path, ReportOptions(html=page, conditions=("label = wrong",)))
    assert row.setting_id in page.read_text()
    assert whole.rows[0].setting_id not in page.read_text()
    assert '"conditions":["label = wrong"]' in page.read_text()


def test_a_report_counts_settings_that_are_not_scored_yet(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with open_store(store_path(tmp_path), "write") as store:
        plan, _ = fill(store, {"right": right})
        later = make_setting({"generator": "later"}, "later")
        write_plan(store, replace(plan, settings=[later]))
    n = len(plan.cells)
    write_report(store_path(tmp_path), ReportOptions())
    assert f"{2 * n} pictures expected, {n} done, 0 without text, {n} failed" in capfd.readouterr().out
    write_report(store_path(tmp_path), ReportOptions(conditions=("label = right",)))
    assert f"{n} pictures expected, {n} done, 0 without text, 0 failed" in capfd.readouterr().out


def test_a_filter_over_protocols_shows_each_row_what_is_its_own(tmp_path: Path) -> None:
    """The panels are the first row's protocol's; a row of another one has none of them."""
    with open_store(store_path(tmp_path), "write") as store:
        plan, protocol = fill(store, {"right": right, "wrong": wrong}, small_suite(40))
        blind = Protocol(protocol.reader_id, 1.0)  # no line is as sure as that
        score_again(store, [setting.id for setting in plan.settings], blind)
        whole = load_board(store)

        def only(rows: Sequence[BoardRow]) -> list[BoardRow]:
            kept = {("right", protocol.id), ("wrong", blind.id)}
            return [row for row in rows if (row.label, row.protocol_id) in kept]

        board = load_board(store, only=only)
        blind_board = load_board(store, only=partial(filter_rows, conditions=[by_protocol(blind)]))
    first, second = board.rows
    assert (first.label, second.label) == ("right", "wrong")
    assert {sample.setting_id for sample in board.samples} == {first.setting_id} == set(board.em_by_length)
    assert board.pairs == {}
    [pair] = whole.pairs.values()
    [blind_pair] = blind_board.pairs.values()
    assert pair.p < 0.05
    assert blind_pair.p == 1


def by_protocol(protocol: Protocol) -> Condition:
    return parse_condition(f"protocol_id = {protocol.id}")


def test_a_gate_knows_metrics_that_only_hidden_rows_have(path: Path) -> None:
    with open_store(path, "write") as store:
        [(setting_id,)] = store.rows("SELECT setting_id FROM settings WHERE label = 'right'")
        store.execute(
            "UPDATE scores SET metric = 'clip_desc' WHERE metric = 'em_alnum' AND setting_id = ?",
            [setting_id],
        )
        options = ReportOptions(
            conditions=("label = wrong",), gates=("clip_desc < 10",), metrics=["clip_desc"]
        )
        store.execute("CHECKPOINT")
    try:
        assert write_report(path, options)
    finally:
        with open_store(path, "write") as store:
            store.execute("UPDATE scores SET metric = 'em_alnum' WHERE metric = 'clip_desc'")


def test_a_filter_that_nothing_fits_is_an_error_and_no_gate_passes(path: Path) -> None:
    options = ReportOptions(conditions=("name = nope",), gates=("em_ci < 0.5",))
    with pytest.raises(InputError, match="no row has name = nope"):
        write_report(path, options)


def test_score_prints_value_and_interval(board: Board) -> None:
    [em] = choose_metrics(board, ["em_ci"])
    assert format_score(Score(0.7123, 0.65, 0.765, 10, 10), em) == "71.2 [65.0 76.5]"
    assert format_score(Score(0.5), em) == "50.0"
    assert format_score(None, em) == "–"


def test_the_suites_that_come_along_are_listed_with_their_kinds() -> None:
    suites = [json.loads(line) for line in suites_lines("jsonl")]
    assert [(suite["suite"], suite["prompts"], suite["pictures"]) for suite in suites] == [
        ("smoke", 64, 64),
        ("dev", 250, 1000),
        ("full", 1000, 4000),
    ]
    kinds = [json.loads(line) for line in kinds_lines("dev", "jsonl")]
    assert sum(kind["prompts"] for kind in kinds) == 250
    assert {"trap", "empty", "digits"} <= {kind["kind"] for kind in kinds}
    with pytest.raises(InputError, match="no suite 'smke'"):
        list(kinds_lines("smke"))


def test_a_report_without_scores_says_so(tmp_path: Path) -> None:
    open_store(store_path(tmp_path), "write").close()
    with pytest.raises(InputError, match="holds no scores"):
        write_report(store_path(tmp_path), ReportOptions())


@pytest.mark.parametrize(
    ("arguments", "status", "named"),
    [
        (["--format", "json"], 0, '"schema"'),
        (["--fail-if", "em_ci < 0.8"], 1, "em_ci"),
        (["--fail-if", "em_ci < -1"], 0, "leaderboard"),
        (["--metric", "nonsense"], 2, "no metric"),
        (["--format", "parquet"], 2, "--out"),
        (["--colour"], 2, "--colour"),
    ],
)
def test_the_command_under_its_short_name(
    path: Path,
    arguments: list[str],
    status: int,
    named: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["report", "--store", str(path), *arguments])
    with pytest.raises(SystemExit) as ended:
        report_main()
    assert (ended.value.code or 0) == status
    captured = capfd.readouterr()
    assert named in captured.out + captured.err
