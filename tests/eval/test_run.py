"""Pictures into the store: once each, whatever stops the run, and the same noise for every setting."""

from __future__ import annotations

from pathlib import Path

import pytest
from eval_fakes import Writer, fill, half, right, small_suite, store_path

from datatools.errors import InputError
from eval.run import Plan, make_pictures, start_run, write_plan
from eval.store import open_store
from eval.store.counts import count_pictures
from eval.suites import bundled_suites, cells_of, load_suite
from eval.sweep import grid, make_setting


def plan_of(n_settings: int = 2) -> Plan:
    suite = small_suite()
    settings = [make_setting({"generator": "test", "number": i}, f"setting {i}") for i in range(n_settings)]
    return Plan(suite, cells_of(suite), settings, run_id="r")


def test_every_combination_is_a_setting_with_its_own_id() -> None:
    points = grid({"sampler": ["a", "b", "a"], "guidance": [1.0, 3.0]})
    assert len(points) == 4
    ids = {make_setting(point, "x").id for point in points}
    assert len(ids) == 4
    assert make_setting({"b": 1, "a": 2}, "x").id == make_setting({"a": 2, "b": 1}, "y").id


def test_seeds_belong_to_the_prompt_not_to_the_setting_or_the_length() -> None:
    long, short = load_suite("smoke"), load_suite("smoke", 5)
    assert [cell.seed for cell in cells_of(long)][:5] == [cell.seed for cell in cells_of(short)]
    assert len({cell.seed for cell in cells_of(long)}) == 64


@pytest.mark.parametrize(("name", "n", "repeats"), [("smoke", 64, 1), ("dev", 250, 4), ("full", 1000, 4)])
def test_bundled_suites_hold_what_the_protocol_says(name: str, n: int, repeats: int) -> None:
    suite = load_suite(name)
    assert (len(suite.prompts), suite.images_per_prompt) == (n, repeats)
    strata = {prompt.stratum for prompt in suite.prompts}
    assert {"word-1k", "word-100k", "lines-2", "digits", "case", "random", "trap", "empty"} <= strata
    # Any beginning is a fair mix: an eighth of the suite has most kinds already.
    assert len({prompt.stratum for prompt in suite.prompts[: n // 4]}) >= len(strata) - 2
    with_description = sum(prompt.capt is not None for prompt in suite.prompts)
    assert 0.4 <= with_description / n <= 0.6


def test_a_bundled_suite_cannot_change_without_a_new_version() -> None:
    digests = {(suite.name, suite.version): suite.digest[:8] for suite in map(load_suite, bundled_suites())}
    assert digests == {("smoke", 1): "c696972c", ("dev", 1): "74cc449c", ("full", 1): "4c58d635"}


def test_an_unknown_suite_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="smoke, dev, full"):
        load_suite("tiny")


@pytest.mark.parametrize("key", ["version", "images_per_prompt"])
@pytest.mark.parametrize("value", ['"two"', "0", "-1", "1.5", "true", "null", "1e9", "1" * 30, "[1]"])
def test_a_suite_whose_head_holds_no_number_is_refused(key: str, value: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(f'{{"suite": "mine", "{key}": {value}}}\n{{"txt": "a"}}\n')
    with pytest.raises(InputError, match=rf"mine\.jsonl line 1: '{key}'"):
        load_suite(str(path))
    path.write_text(f'{{"suite": "mine", "{key}": 3}}\n{{"txt": "a"}}\n')
    assert getattr(load_suite(str(path)), key) == 3


def test_no_prompts_at_all_are_refused() -> None:
    with pytest.raises(InputError, match="limit of 0"):
        load_suite("smoke", 0)


def test_running_again_makes_nothing_twice(tmp_path: Path) -> None:
    plan = plan_of()
    with open_store(store_path(tmp_path), "write") as store:
        for expected in (12, 0):
            writer = Writer(right)
            write_plan(store, plan)
            make_pictures(store, plan, writer)
            assert writer.n_made == expected


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    plan = plan_of()

    class Killed(Writer):
        def make(self, setting, cells):  # type: ignore[no-untyped-def]
            if self.n_made == 3:
                raise KeyboardInterrupt
            return super().make(setting, cells)

    with open_store(store_path(tmp_path), "write") as store:
        write_plan(store, plan)
        with pytest.raises(KeyboardInterrupt):
            make_pictures(store, plan, Killed(right))
    with open_store(store_path(tmp_path), "write") as store:
        write_plan(store, plan)
        writer = Writer(right)
        make_pictures(store, plan, writer)
        assert writer.n_made == 12 - 3
        assert store.rows("SELECT count(*) FROM samples WHERE status = 'done'") == [(12,)]


def test_a_failed_cell_is_kept_with_its_cause_and_tried_again(tmp_path: Path) -> None:
    plan = plan_of(1)
    with open_store(store_path(tmp_path), "write") as store:
        write_plan(store, plan)
        make_pictures(store, plan, Writer(lambda cell: None if cell.prompt.id == "p1" else "x"))
        assert store.rows("SELECT prompt_id, cause FROM samples WHERE status = 'failed'") == [
            ("p1", "refused")
        ]
        writer = Writer(right)
        make_pictures(store, plan, writer)
        assert writer.n_made == 1


def test_a_picture_whose_file_was_deleted_is_made_again(tmp_path: Path) -> None:
    plan = plan_of(1)
    with open_store(store_path(tmp_path), "write") as store:
        write_plan(store, plan)
        make_pictures(store, plan, Writer(right))
        [(sha256,)] = store.rows("SELECT sha256 FROM samples WHERE prompt_id = 'p2'")
        store.picture_path(sha256).unlink()
        writer = Writer(right)
        make_pictures(store, plan, writer)
        assert writer.n_made == 1
        assert store.picture_path(sha256).is_file()


def test_counts_are_of_all_pictures_that_were_expected(tmp_path: Path) -> None:
    spell = lambda cell: None if cell.prompt.id == "p0" else ("" if cell.prompt.id == "p1" else "x")  # noqa: E731
    with open_store(store_path(tmp_path), "write") as store:
        plan, protocol = fill(store, {"a": spell, "b": half})
        counts = count_pictures(store, [plan.settings[0].id], protocol.id)
    assert (counts.expected, counts.done, counts.no_text, counts.failed) == (6, 5, 1, 1)


def test_runs_are_recorded(tmp_path: Path) -> None:
    with open_store(store_path(tmp_path), "write") as store:
        start_run(store, plan_of(), {"command": ["a", "b"]})
        assert store.rows("SELECT run_id, provenance->>'$.command[1]' FROM runs") == [("r", "b")]


@pytest.mark.parametrize("content", [b"", b"not a database, only text" * 100])
def test_a_file_that_is_no_store_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "e.duckdb"
    path.write_bytes(content)
    with pytest.raises(InputError):
        open_store(path, "read")
    assert path.read_bytes() == content


def test_a_store_of_another_schema_is_refused(tmp_path: Path) -> None:
    with open_store(store_path(tmp_path), "write") as store:
        store.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    with pytest.raises(InputError, match="schema version 99"):
        open_store(store_path(tmp_path), "write")


def test_a_missing_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no evaluation store"):
        open_store(tmp_path / "none.duckdb")


def test_queries_cannot_reach_other_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    with open_store(store_path(tmp_path), "write") as store, pytest.raises(Exception, match="disabled"):
        store.rows(f"SELECT * FROM read_csv('{secret}')")


def test_a_picture_that_lost_bits_is_made_again(tmp_path: Path) -> None:
    plan = plan_of(1)
    with open_store(store_path(tmp_path), "write") as store:
        write_plan(store, plan)
        make_pictures(store, plan, Writer(right))
        [(sha256,)] = store.rows("SELECT sha256 FROM samples WHERE prompt_id = 'p2'")
        path = store.picture_path(sha256)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        writer = Writer(right)
        make_pictures(store, plan, writer)
        assert writer.n_made == 1
        assert path.read_bytes() == whole
