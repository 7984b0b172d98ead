"""From stored readings to scores: recomputed by hand, missing as worst, nothing done twice."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from eval_fakes import Finder, fill, half, hide, right, small_suite, store_path, wrong
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

import eval.fidelity
from eval.calibration import Calibration, calibrated_scores
from eval.clip_score import ClipScorer
from eval.leaderboard.error_kinds import ErrorKinds, count_error_kinds, error_kinds
from eval.leaderboard.panels import confusions, count_confusions
from eval.metrics.aggregate import score_texts
from eval.metrics.prompts import em_at_k
from eval.metrics.registry import TEXT_METRICS, all_metrics, metric_info
from eval.networks.inception import Inception
from eval.reading import pictures as reading
from eval.reading.pictures import read_pictures
from eval.reading.protocol import Protocol
from eval.scoring import clip as clip_scoring
from eval.scoring import fidelity as fidelity_scoring
from eval.scoring.fidelity_measures import fidelity_scores
from eval.scoring.steps import score_again
from eval.store import Store, open_store
from eval.store.counts import count_pictures, load_counts
from eval.store.features import Features, load_features
from eval.suites import cells_of
from eval.text_metrics import NORMALISERS, cer, em, ned, wer, word_prf
from eval.text_metrics.counts import PairCounts, count_pair, missing_counts
from eval.text_metrics.normalisers import Normaliser, flat, graphemes

TEXT_UP = [metric.info for metric in TEXT_METRICS if metric.info.higher_is_better]

WORDS = st.lists(st.sampled_from(["to", "be", "Or", "not", "0h", "a-b"]), max_size=5).map(" ".join)


def test_every_metric_has_one_entry() -> None:
    ids = [info.id for info in all_metrics()]
    assert len(ids) == len(set(ids))
    info = metric_info("cer")
    assert info is not None
    assert not info.higher_is_better
    assert metric_info("nothing") is None


@given(st.lists(st.tuples(WORDS.filter(bool), WORDS), min_size=1, max_size=8))
def test_scores_equal_the_pair_functions(pairs: list[tuple[str, str]]) -> None:
    scores = score_texts(counts_of(pairs))
    n_chars = sum(len(t) for t, _ in pairs)
    assert value(scores, "em_ci") == pytest.approx(np.mean([em(t, h) for t, h in pairs]))
    assert value(scores, "em_strict") == pytest.approx(np.mean([em(t, h, "strict") for t, h in pairs]))
    assert value(scores, "ned") == pytest.approx(np.mean([ned(t, h) for t, h in pairs]))
    assert value(scores, "cer") == pytest.approx(sum(cer(t, h) * len(t) for t, h in pairs) / n_chars)
    n_words = sum(len(t.split()) for t, _ in pairs)
    assert value(scores, "wer") == pytest.approx(sum(wer(t, h) * len(t.split()) for t, h in pairs) / n_words)
    if len(pairs) == 1:
        precision, recall, f1 = word_prf(*pairs[0])
        assert value(scores, "word_r") == pytest.approx(recall)
        assert value(scores, "word_f1") == pytest.approx(f1)
        if pairs[0][1]:
            assert value(scores, "word_p") == pytest.approx(precision)


def test_the_micro_average_weighs_characters_not_pictures() -> None:
    scores = score_texts(counts_of([("a", "x"), ("abcdefghi", "abcdefghi")]))
    assert value(scores, "cer") == pytest.approx(1 / 10)
    assert value(scores, "cer_clip") == pytest.approx(1 / 2)


def test_line_order_is_told_apart_from_spelling() -> None:
    swapped = count_pair("I can\nwrite", "write\nI can")
    assert swapped.n_edits > 0
    assert swapped.n_edits_free == 0
    misspelt = count_pair("I can\nwrite", "write\nI cam")
    assert misspelt.n_edits_free == 1


@given(WORDS, WORDS)
def test_order_never_makes_it_worse(target: str, reading: str) -> None:
    counts = count_pair(target.replace(" ", "\n"), reading.replace(" ", "\n"))
    assert 0 <= counts.n_edits_free <= counts.n_edits


def test_case_is_judged_where_letters_agree() -> None:
    counts = count_pair("Hello 5 WORLD", "hello 5 WORXD")
    assert (counts.n_cased, counts.n_case_same) == (9, 8)


def test_exact_matches_nest() -> None:
    assert count_pair("It's 10", "its 1O")[:5] == (False, False, False, False, False)
    assert count_pair("Its 10", "its lO")[:5] == (False, False, False, False, True)
    assert count_pair("It's on", "its ON")[:5] == (False, False, True, False, False)
    assert count_pair("a b", "AB")[:5] == (False, False, False, True, False)


LOOKALIKES = st.text("aA1lI|0oO'`-. \n\u00e9\uff10\u201c\u20ac", max_size=4)


@given(LOOKALIKES, LOOKALIKES)
def test_exact_matches_are_those_of_each_normaliser(target: str, reading: str) -> None:
    assert count_pair(target, reading)[:5] == tuple(em(target, reading, name) for name in NORMALISERS)


@given(st.text(max_size=12))
def test_a_missing_picture_is_right_in_nothing(target: str) -> None:
    counts = missing_counts(target)
    assert not any(counts[:5])
    assert counts.n_edits == counts.n_target
    assert counts.n_words_shared == counts.n_lines_shared == counts.n_chars_shared == 0


def test_missing_pictures_count_as_worst_and_are_named(tmp_path: Path) -> None:
    with open_store(store_path(tmp_path), "write") as store:
        _plan, _ = fill(
            store, {"a": lambda cell: None if cell.prompt.id in ("p0", "none") else cell.prompt.txt}
        )
        rows = {row[0]: row[1:] for row in store.rows("SELECT metric, value, n, n_expected FROM scores")}
    assert rows["em_ci"] == (4 / 5, 4, 5)
    assert rows["halluc_rate"] == (1.0, 0, 1)
    assert rows["cer"][0] == pytest.approx(1 / 5)
    assert rows["no_text_rate"][0] == pytest.approx(1 / 5)
    for metric in ("ned_chance", "ned_adj", "p_char"):
        assert rows[metric][1:] == (4, 5), metric


def test_no_share_of_text_metrics_is_whole_while_a_picture_is_missing() -> None:
    """All read right but one of four, which is missing: nothing divides by what was read alone."""
    pairs = [("Open Late", "Open Late"), ("Exit", "Exit"), ("Two\nlines", "Two\nlines")]
    frame = counts_of(pairs)
    lost = counts_of([("Gone", "")]).assign(
        **missing_counts("Gone")._asdict(), reading=None, prompt_id="lost"
    )
    scores = score_texts(pd.concat([frame, lost], ignore_index=True))
    whole = score_texts(frame)
    shares = [info.id for info in TEXT_UP if whole[info.id].value == 1]
    assert {"word_p", "line_prec", "char_precision", "case_acc", "word_f1", "em_ci", "ned"} <= set(shares)
    assert {metric for metric in shares if (scores[metric].value or 0) > 0.9} == set()
    word_p, word_r, word_f1 = (scores[metric].value or 0 for metric in ("word_p", "word_r", "word_f1"))
    assert word_f1 == pytest.approx(2 * word_p * word_r / (word_p + word_r))


def test_spurious_characters_are_of_pictures_that_were_read() -> None:
    frame = counts_of([("", "xx"), ("", "")])
    lost = counts_of([("", "")]).assign(**missing_counts("")._asdict(), reading=None, prompt_id="lost")
    scores = score_texts(pd.concat([frame, lost], ignore_index=True))
    assert (scores["spurious_chars"].value, scores["spurious_chars"].n) == (1, 2)
    assert scores["halluc_rate"].value == pytest.approx(2 / 3)
    assert score_texts(lost)["spurious_chars"].value is None


def test_a_text_of_marks_alone_is_no_number_out_of_nothing_under_alnum() -> None:
    """It has no characters there; and "!!!" that was read is not nothing read."""
    frame = counts_of([("!!!", "!!!"), ("stop!", "stop")], "alnum")
    scores = score_texts(frame, "alnum")
    assert scores["cer_clip"].value == 0
    assert scores["no_text_rate"].value == 0
    assert all(score.value is None or np.isfinite(score.value) for score in scores.values())


@pytest.mark.filterwarnings("error")
def test_a_text_of_marks_alone_has_no_length_to_fit() -> None:
    pairs = [("stop", "stop"), ("word", "x"), ("a", "a")]
    alone, beside = (
        score_texts(counts_of(some, "alnum"), "alnum") for some in (pairs, [("!!!", "x"), *pairs])
    )
    assert beside["p_char"].value == alone["p_char"].value is not None
    assert beside["p_char"].n == 3


def test_em_at_k_and_calibrated_scores_say_how_many_pictures_were_read(tmp_path: Path) -> None:
    suite = small_suite(4, repeats=4)
    lost = cells_of(suite)[0]
    with open_store(store_path(tmp_path), "write") as store:
        _plan, protocol = fill(store, {"a": lambda cell: None if cell == lost else "zzz"}, suite)
        rows = store.rows("SELECT n, n_expected FROM scores WHERE metric = 'em_at_4'")
        counts = load_counts(store, [_plan.settings[0].id], protocol.id)
    assert rows == [(11, 12)]
    ceiling = counts.assign(em_ci=True, reading="x")
    scores = calibrated_scores(counts, Calibration(ceiling, counts.assign(em_ci=False)))
    assert {(score.n, score.n_expected) for score in scores.values()} == {(11, 12)}


def test_the_leaderboard_can_be_recomputed_from_the_store(tmp_path: Path) -> None:
    with open_store(store_path(tmp_path), "write") as store:
        _plan, protocol = fill(store, {"half": half}, small_suite(8, repeats=3))
        by_hand = store.rows(
            """SELECT avg(t.em_ci::INT), sum(n_edits) / sum(n_target) FROM text_scores t
               JOIN prompts USING (prompt_id) WHERE trim(txt) <> ''"""
        )
        stored = store.rows("SELECT value FROM scores WHERE metric IN ('em_ci', 'cer') ORDER BY metric DESC")
        [(protocol_id, spec)] = store.rows("SELECT protocol_id, spec FROM protocols")
    assert by_hand[0] == pytest.approx([number for (number,) in stored])
    assert protocol_id == protocol.id
    assert json.loads(spec)["normaliser"] == "ci"


def test_a_picture_is_read_once_and_another_normaliser_reads_nothing(tmp_path: Path) -> None:
    engine = Finder()
    with open_store(store_path(tmp_path), "write") as store:
        plan, protocol = fill(store, {"half": half, "wrong": wrong})
        ids = [setting.id for setting in plan.settings]
        read_pictures(store, engine, ids)
        strict = Protocol(protocol.reader_id, normaliser="strict")
        score_again(store, ids, strict)
        assert engine.n_read == 0
        assert len(store.rows("SELECT DISTINCT protocol_id FROM scores")) == 2
        assert strict.id != protocol.id


def test_lines_of_low_confidence_are_kept_raw_but_not_counted(tmp_path: Path) -> None:
    with open_store(store_path(tmp_path), "write") as store:
        plan, protocol = fill(store, {"right": right})
        sure = Protocol(protocol.reader_id, min_confidence=0.95)
        score_again(store, [plan.settings[0].id], sure)
        sql = "SELECT value FROM scores WHERE metric = 'em_ci' AND protocol_id = ?"
        assert store.rows(sql, [protocol.id]) == [(1.0,)]
        assert store.rows(sql, [sure.id]) == [(0.0,)]


def test_a_reader_that_fails_on_one_picture_reads_the_others(tmp_path: Path) -> None:
    class Moody(Finder):
        def read(self, pictures):  # type: ignore[no-untyped-def]
            if any((picture == hide("zzz", 1)).all() for picture in pictures):
                raise RuntimeError("no")
            return super().read(pictures)

    with open_store(store_path(tmp_path), "write") as store:
        _plan, _ = fill(store, {})
        setting_plan, _ = fill(store, {"a": right})
        bad = store.add_picture(hide("zzz", 1))
        store.execute("UPDATE samples SET sha256 = ? WHERE prompt_id = 'p0'", [bad])
        store.execute("DELETE FROM readings")
        read_pictures(store, Moody(), [setting_plan.settings[0].id])
        assert store.rows("SELECT sha256 FROM readings WHERE cause = 'reader_error'") == [(bad,)]
        assert store.rows("SELECT count(*) FROM readings WHERE cause IS NULL") == [(5,)]


def test_a_picture_that_was_not_read_is_counted_told_and_read_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(Finder):
        def read(self, pictures):  # type: ignore[no-untyped-def]
            raise RuntimeError("out of memory")

    with open_store(store_path(tmp_path), "write") as store:
        plan, protocol = fill(store, {"a": right})
        ids = [plan.settings[0].id]
        store.execute("DELETE FROM readings")
        store.execute("DELETE FROM transcripts")
        read_pictures(store, Broken(), ids)
        score_again(store, ids, protocol)
        counts = count_pictures(store, ids, protocol.id)
        assert (counts.done, counts.unread, counts.failed) == (6, 6, 0)
        told = capsys.readouterr().err
        assert "reader_error" in told and "again" in told
        engine = Finder()
        read_pictures(store, engine, ids)
        score_again(store, ids, protocol)
        assert engine.n_read == 6
        assert count_pictures(store, ids, protocol.id).unread == 0
        assert store.rows("SELECT value FROM scores WHERE metric = 'em_ci'") == [(1.0,)]


def test_readers_that_can_be_repeated_read_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(3, timeout=20)

    class Several(Finder):
        def read(self, pictures):  # type: ignore[no-untyped-def]
            if not self.n_read:
                together.wait()  # breaks, and with it the reading, unless three are here at once
            return super().read(pictures)

        def twin(self) -> Finder:
            return Several()

    monkeypatch.setattr(reading, "_BATCH", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    with open_store(store_path(tmp_path), "write") as store:
        plan, _ = fill(store, {"a": right})
        rows = "SELECT sha256, lines FROM readings ORDER BY ALL"
        alone = store.rows(rows)
        store.execute("DELETE FROM readings")
        read_pictures(store, Several(), [plan.settings[0].id])
        assert store.rows(rows) == alone
    assert alone


def test_a_picture_that_is_gone_costs_itself_alone_in_agreement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Same(ClipScorer):
        def embed_pictures(self, pictures, progress=None, batch_size=32):  # type: ignore[no-untyped-def]
            return np.array([[1.0, 0.0] for _ in pictures], np.float32)

        def embed_texts(self, texts, batch_size=256):  # type: ignore[no-untyped-def]
            return np.array([[0.6, 0.8] for _ in texts], np.float32)

        def count_truncated(self, texts):  # type: ignore[no-untyped-def]
            return 1

    network = torch.nn.Identity()
    same = Same("same", network, network, network, 77)
    monkeypatch.setattr(clip_scoring, "_open", lambda model: clip_scoring._Scorer("same", lambda: same))
    with open_store(store_path(tmp_path), "write") as store:
        plan, _ = fill(store, {"a": right})
        damage(store)
        [(_, _, scores)] = clip_scoring.score_clip(store, [plan.settings[0].id], ("tiny", "tiny"))
    # Six pictures, one gone and one no picture: 60 for each of the four others, 0 for these two.
    assert scores["clip_desc"].value == pytest.approx(60 * 4 / 6)
    assert (scores["clip_desc"].n, scores["clip_desc"].n_expected) == (4, 6)
    assert value(scores, "clip_text") == pytest.approx(60 * 4 / 5)
    assert scores["clip_desc"].reason == "scored by same; 1 of 6 texts are cut at 77 tokens"
    assert scores["clip_desc"].ranked
    assert scores["clip_floor"].reason == scores["clip_desc"].reason


def test_a_picture_that_is_gone_is_left_out_of_fidelity(tmp_path: Path) -> None:
    seen: list[int] = []

    def extract(pictures: Iterator[object]) -> Features:
        seen.append(len(list(pictures)))
        return np.eye(seen[-1], 4, dtype=np.float32)

    with open_store(store_path(tmp_path), "write") as store:
        fill(store, {"a": right})
        keys = [sha256 for (sha256,) in store.rows("SELECT sha256 FROM samples ORDER BY prompt_id")]
        damage(store)
        pictures = fidelity_scoring._Pictures(keys, len(keys), 32, "a catalog")
        eye = fidelity_scoring._Measurer("eye", extract, fidelity_scores, "features")
        fidelity_scoring._keep_features(store, eye, [pictures])
        features = load_features(store, "eye", keys)
    assert seen == [4]
    assert len(features) == 4


def test_the_pictures_of_all_settings_are_one_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[str] = []

    def keep(store: Store, extractor: str, keys: Sequence[str], *rest: object) -> None:
        titles.append(f"{rest[-1]}: {len(keys)}")

    class Network(Inception):
        digest = "none"

        def __init__(self) -> None:
            torch.nn.Module.__init__(self)

    monkeypatch.setattr(eval.fidelity, "open_inception", Network)
    monkeypatch.setattr(fidelity_scoring, "keep_features", keep)
    with open_store(store_path(tmp_path), "write") as store:
        plan, _ = fill(store, {"a": right, "b": wrong, "not compared": half})
        ids = [setting.id for setting in plan.settings]
        store.execute(
            """UPDATE settings SET reference = '{"catalog": "no.duckdb"}' WHERE label <> 'not compared'"""
        )
        scores = {key: found for key, _, found in fidelity_scoring.score_fidelity(store, ids)}
    assert titles == ["features (Inception): 12"]
    assert [str(scores[key]["kid"].reason).split(".")[0] for key in ids] == ["there is no catalog no"] * 2 + [
        "no reference pictures: give --reference CATALOG"
    ]


def damage(store: Store) -> None:
    """One picture goes, another becomes something else."""
    [(gone,), (spoilt,)] = store.rows(
        "SELECT sha256 FROM samples WHERE prompt_id IN ('none', 'p1') ORDER BY ALL"
    )
    store.picture_path(gone).unlink()
    store.picture_path(spoilt).write_bytes(b"no picture")


def test_confusions_name_what_was_taken_for_what() -> None:
    found = dict(count_confusions([("sign", "sigm"), ("sun", "sum"), ("on", "oon"), ("it", "t")]))
    assert found == {("n", "m"): 2, ("", "o"): 1, ("i", ""): 1}


@pytest.mark.parametrize(
    ("target", "reading", "kinds"),
    [
        ("corner", "comer", {"merged": 1}),
        ("corn", "cm", {"merged": 1, "lost": 1}),
        ("little", "litttle", {"repeated": 1}),
        ("book", "boook", {"repeated": 1}),
        ("to", "toxx", {"added": 2}),
        ("open", "opean", {"added": 1}),
        ("Open", "0pe", {"misread": 1, "lost": 1}),
        ("e\u0301t\u00e9", "ete", {"misread": 2}),
        ("two\nlines", "two lines", {}),
        ("to", "", {"lost": 2}),
    ],
)
def test_kinds_of_error(target: str, reading: str, kinds: dict[str, int]) -> None:
    counted = asdict(count_error_kinds([(target, reading)]))
    assert counted.pop("n_asked") == len(graphemes(flat(target, "strict")))
    assert {name: n for name, n in counted.items() if n} == kinds


def test_errors_are_counted_where_text_was_asked_for_and_something_read() -> None:
    frame = pd.DataFrame(
        [("a", "sign", "sigm"), ("a", "sun", ""), ("a", "", "invented"), ("a", " ", "x"), ("b", "it", "it")],
        columns=["setting_id", "txt", "reading"],
    )
    assert error_kinds(frame) == {"a": ErrorKinds(4, misread=1), "b": ErrorKinds(2)}
    assert confusions(frame) == {"a": [("n", "m", 1)], "b": []}
    assert error_kinds(pd.DataFrame()) == {}


@given(st.text("abc ", max_size=12), st.text("abc ", max_size=12))
def test_kinds_of_error_add_up_to_the_edits(target: str, reading: str) -> None:
    kinds = count_error_kinds([(target, reading)])
    n_edits = Levenshtein.distance(flat(target, "strict"), flat(reading, "strict"))
    assert kinds.misread + kinds.lost + 2 * kinds.merged + kinds.repeated + kinds.added == n_edits


@pytest.mark.parametrize(
    ("n", "n_right", "k", "expected"), [(4, 0, 4, 0), (4, 1, 4, 1), (8, 2, 4, 1 - 15 / 70)]
)
def test_em_at_k_is_the_chance_of_a_right_one_among_k(n: int, n_right: int, k: int, expected: float) -> None:
    assert em_at_k(n, n_right, k) == pytest.approx(expected)


def test_readings_that_say_anything_have_a_chance_level() -> None:
    pairs = [(word, word) for word in ("stone", "stare", "store", "shore")]
    scores = score_texts(counts_of(pairs))
    assert 0.4 < value(scores, "ned_chance") < 0.9
    assert value(scores, "ned_adj") == pytest.approx(1)
    assert scores["em_at_4"].reason == "no prompt has 4 pictures"


def test_capacity_is_found_where_it_was_put() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 30, 3000)
    pairs = [("a" * n, "a" * n if rng.random() < 0.95**n else "b" * n) for n in lengths]
    scores = score_texts(counts_of(pairs))
    assert value(scores, "p_char") == pytest.approx(0.95, abs=0.005)
    odds = np.exp((12 - lengths) / 3)
    falling = [
        ("a" * n, "a" * n if rng.random() < o / (1 + o) else "b" * n)
        for n, o in zip(lengths, odds, strict=True)
    ]
    assert value(score_texts(counts_of(falling)), "length_50") == pytest.approx(12, abs=0.6)


def counts_of(pairs: list[tuple[str, str]], normaliser: Normaliser = "ci") -> pd.DataFrame:
    rows = [count_pair(target, reading, normaliser) for target, reading in pairs]
    frame = pd.DataFrame(rows, columns=list(PairCounts._fields))
    return frame.assign(
        prompt_id=[str(i) for i in range(len(pairs))],
        txt=[t for t, _ in pairs],
        reading=[h for _, h in pairs],
    )


def value(scores, metric: str) -> float:  # type: ignore[no-untyped-def]
    found = scores[metric].value
    assert found is not None
    return float(found)
