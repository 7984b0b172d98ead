"""The human audit: a blind sheet, its answers, and what they say of the reader."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from browser import Browser
from eval_fakes import fill, right, small_suite, store_path, wrong

from datatools.errors import InputError
from eval.calibration.audit import audit_lines, import_audit, write_audit_sheet
from eval.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path):  # type: ignore[no-untyped-def]
    with open_store(store_path(tmp_path), "write") as opened:
        fill(opened, {"good": right, "bad": wrong}, small_suite(7))
        yield opened


def answer(store: Store, folder: Path, texts: dict[str, str]) -> Path:
    path = folder / "filled.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["picture", "text", "no_text"])
        writer.writerows([sha256, text, "" if text else "x"] for sha256, text in texts.items())
    return path


def test_a_sheet_is_blind_and_the_same_each_time(store: Store, tmp_path: Path) -> None:
    assert write_audit_sheet(store, tmp_path / "a") == write_audit_sheet(store, tmp_path / "b")
    pages = [(tmp_path / name / "audit.html").read_bytes() for name in "ab"]
    assert pages[0] == pages[1]
    for word in ("Word 1", "zzz", "finder", "://"):
        assert word not in pages[0].decode()
    assert len((tmp_path / "a" / "audit.csv").read_text().splitlines()) == 1 + pages[0].count(b"<section")


def test_answers_judge_the_reader(store: Store, tmp_path: Path) -> None:
    rows = store.rows(
        """SELECT sha256, txt FROM samples JOIN settings USING (setting_id)
           JOIN prompts USING (suite_id, prompt_id) WHERE label = 'good' AND txt <> '' ORDER BY prompt_id"""
    )
    texts = dict(rows)
    first = rows[0][0]
    texts[first] = ""  # the person sees nothing where the reader saw the text
    assert import_audit(store, answer(store, tmp_path, texts), "ann") == 6
    [line] = audit_lines(store, "ann")
    assert "6 pictures judged by ann" in line
    assert "false negatives 0 of 5" in line
    assert "false positives 1 of 1" in line
    [nobody] = audit_lines(store, "bob")
    assert nobody == "no reader has read what bob did"


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", "picture,text,no_text\nffff,x,\n", "picture,text,no_text\n"]
)
def test_a_file_that_is_no_filled_sheet_is_refused(store: Store, tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(InputError):
        import_audit(store, path, "ann")


def test_the_page_counts_and_writes_what_was_typed(store: Store, tmp_path: Path, browser: Browser) -> None:
    write_audit_sheet(store, tmp_path)
    browser.call("Page.navigate", url=(tmp_path / "audit.html").as_uri())
    browser.wait("document.readyState === 'complete' && document.querySelector('section') !== null")
    typed = 'say "hi",\\nthere'
    found = browser.run(
        f"(() => {{ document.querySelector('textarea').value = '{typed}';"
        "document.dispatchEvent(new Event('input'));"
        "return [document.getElementById('count').textContent, table()] })()"
    )
    assert found[0].startswith("1 of ")
    saved = tmp_path / "saved.csv"
    saved.write_text(found[1])
    assert import_audit(store, saved, "ann") == 1
    assert store.rows("SELECT text FROM audits") == [('say "hi",\nthere',)]
