"""Every command that README and docs show is one that the programs take (test_main_job runs them)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import typer

import datatools.cli
import eval.cli
import txtdiff.cli
from txtdiff.train_options import TrainCommand, TrainFlags, run_config

ROOT = Path(__file__).parents[1]
APPS = {
    "datatools": datatools.cli.app,
    "txtdiff": txtdiff.cli.app,
    "txtdiff-eval": eval.cli.app,
    "eval": eval.cli.app,
}
FENCE = re.compile(r"^```(?:sh|console|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def shown_commands() -> Iterator[str]:
    """Command lines in fenced shell blocks of README, docs and demo, continuation lines joined."""
    pages = (
        path for folder in ("docs", "recipes", "txtdiff/pretrained") for path in (ROOT / folder).rglob("*.md")
    )
    for path in (ROOT / "README.md", *sorted(pages)):
        for block in FENCE.findall(path.read_text()):
            for line in block.replace("\\\n", " ").splitlines():
                words = re.sub(r"^torchrun .*? -m (?=txtdiff )", "", line.strip().removeprefix("$ "))
                if words.split(" ")[0] in APPS:
                    yield words
    for line in (ROOT / "demo.sh").read_text().replace("\\\n", " ").splitlines():
        if line.startswith(("step ", "step_tolerant ")):
            yield line.split(" ", 1)[1]


@pytest.mark.parametrize("line", sorted(set(shown_commands())))
def test_shown_command_is_taken(line: str) -> None:
    program, command, *arguments = shlex.split(line, comments=True)
    group = typer.main.get_command(APPS[program])
    with group.make_context(program, [command], resilient_parsing=True) as context:
        found = group.get_command(context, command)  # type: ignore[attr-defined]
        assert found is not None, f"{program} has no command '{command}'"
        with found.make_context(command, arguments, parent=context) as parsed:
            assert parsed.params


# my.toml is the reader's own file.
TRAINING = [
    line
    for line in sorted(set(shown_commands()))
    if line.startswith("txtdiff train ") and "my.toml" not in line
]


@pytest.mark.parametrize("line", TRAINING)
def test_a_shown_training_has_settings_that_go_together(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    command = typer.main.get_command(txtdiff.cli.app).get_command(None, "train")  # type: ignore[attr-defined]
    with command.make_context("train", shlex.split(line, comments=True)[2:]) as parsed:
        given = {field.name: parsed.params[field.name] for field in fields(TrainFlags)}
        config, fork_words = parsed.params["config"], parsed.meta[TrainCommand.FORK_WORDS]
    assert run_config(TrainFlags(**given), config, fork_words).model.image_size_px


def test_readme_and_docs_name_no_registry_and_no_address() -> None:
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        assert "://" not in path.read_text(), path
