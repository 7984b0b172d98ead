"""docs/data-formats.md says what the code does."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
from pathlib import Path

import duckdb
import pytest
from inline_runner import InlineRunner

from datatools.catalog import open_catalog
from datatools.catalog.schema import VIEW_NAMES
from datatools.cli import app
from datatools.decode import CAUSES
from datatools.export import ExportFormat

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/data-formats.md").read_text()


def first_column(title: str) -> list[str]:
    """The first cells of the table whose head begins with `title`, code marks removed."""
    table = TEXT.split(f"| {title} |", 1)[1].split("\n\n", 1)[0]
    return [match for line in table.splitlines()[2:] for match in re.findall(r"^\| `(.+?)`", line)]


def test_the_list_of_causes_is_complete() -> None:
    assert first_column("cause") == list(CAUSES)


def test_the_list_of_export_formats_is_complete() -> None:
    assert first_column("format") == list(ExportFormat.__args__)  # type: ignore[attr-defined]


def test_the_views_have_the_documented_columns(tmp_path: Path) -> None:
    open_catalog(tmp_path / "c.duckdb", "write").close()
    assert first_column("view") == list(VIEW_NAMES)
    with duckdb.connect(str(tmp_path / "c.duckdb"), read_only=True) as db:
        for view in VIEW_NAMES:
            row = re.search(rf"^\| `{view}` \| (.*) \|$", TEXT, re.MULTILINE)
            assert row is not None
            named = re.findall(r"\w+", re.sub(r"\(.*?\)", "", row[1]))
            columns = [name for name, *_ in db.sql(f"DESCRIBE {view}").fetchall()]
            if view == "builds":  # its counts are not named one by one
                named, columns = named[:-1], [name for name in columns if not name.startswith("n_")]
            assert named == columns


@pytest.mark.parametrize("command", [command.name for command in app.registered_commands])
def test_every_command_has_help(command: str) -> None:
    found = next(c for c in app.registered_commands if c.name == command)
    assert found.callback is not None
    assert found.callback.__doc__


API = (ROOT / "docs/python-api.md").read_text()


def test_every_command_has_a_function_that_exists() -> None:
    rows = dict(re.findall(r"^\| `([\w-]+)` \| (.*) \|$", API, re.MULTILINE))
    assert set(rows) == {command.name for command in app.registered_commands}
    for name in re.findall(r"`(datatools\.[\w.]+)", API):
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


def test_the_python_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = API.split("```python\n", 1)[1].split("```", 1)[0]
    space: dict[str, object] = {}
    exec(compile(code, "python-api.md", "exec"), space)
    assert space["report"].n_read == 4  # type: ignore[attr-defined]
    for made in (
        "photos.html",
        "packed/catalog.duckdb",
        "photos-hf/data/train-00000.parquet",
        "texts/000/000000.txt",
    ):
        assert (tmp_path / made).is_file()
    with open_catalog("import/photos.duckdb") as catalog:
        assert catalog.value("SELECT count(*) FROM safeboxes") == catalog.value(
            "SELECT count(*) FROM pictures"
        )


WALK = (ROOT / "docs/walk-through.md").read_text()


def test_the_walk_runs_and_prints_what_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datatools.build.LocalRunner", InlineRunner)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    printed = ""
    for language, block in re.findall(r"```(\w+)\n(.*?)```", WALK, re.DOTALL):
        if language == "text":
            assert [line.rstrip() for line in printed.splitlines()] == block.splitlines()
            continue
        for line in block.splitlines():
            if not line.startswith("datatools "):
                subprocess.run(line if line.split()[0] != "txtdiff" else "true", shell=True, check=True)
            elif "easyocr" not in line:  # seconds, for its networks
                app(shlex.split(line)[1:], standalone_mode=False)
                printed = capsys.readouterr().out
