"""What every command shares: counts, plain text, exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from datatools.atomic import atomic_open, write_text_atomic
from datatools.console import EXIT_INTERRUPTED, EXIT_USAGE, parse_count, plain, run_app, say
from datatools.errors import InputError, suggest


@pytest.mark.parametrize(
    ("text", "n"), [("12", 12), ("4k", 4000), ("1M", 10**6), ("2.5k", 2500), ("1_000", 1000)]
)
def test_counts_understand_k_and_m(text: str, n: int) -> None:
    assert parse_count(text) == n


@pytest.mark.parametrize("text", ["", "k", "-3", "1.5", "4kk", "1e3", "٣x"])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_count(text)


@given(st.text())
def test_plain_text_cannot_drive_a_terminal(text: str) -> None:
    shown = plain(text)
    assert "\x1b" not in shown
    assert "\x9b" not in shown
    assert len(shown) == len(text)


def test_suggestion_names_the_nearest_word() -> None:
    assert suggest("bach_size", ["batch_size", "lr"]) == "Did you mean 'batch_size'?"
    assert suggest("zzz", ["batch_size", "lr"]) is None


def failing_app(error: BaseException) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    def fail() -> None:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("no folder 'x'", "Name another."), EXIT_USAGE),
        (PermissionError(13, "Permission denied", "x"), EXIT_USAGE),
        (OSError(28, "No space left on device"), EXIT_USAGE),
        (KeyboardInterrupt(), EXIT_INTERRUPTED),
    ],
)
def test_user_errors_become_exit_codes(
    error: BaseException, status: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["fail"])
    with pytest.raises(SystemExit) as exit_info:
        run_app(failing_app(error))
    assert exit_info.value.code == status
    assert "error:" in capsys.readouterr().err


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text_atomic(path, "old")
    with pytest.raises(ZeroDivisionError), atomic_open(path) as file:
        file.write(b"new")
        _ = 1 / 0
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_kept_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text_atomic(path, "old")
    path.chmod(0o640)
    write_text_atomic(path, "new")
    assert path.stat().st_mode & 0o777 == 0o640


SLEEPER = """
import typer, time, sys
from datatools.console import run_app, progress
app = typer.Typer()
@app.command()
def wait():
    with progress("waiting", 10) as advance:
        print("ready", flush=True)
        time.sleep(30)
run_app(app)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_one_message_and_exit_code_130(number: signal.Signals) -> None:
    command = [sys.executable, "-c", SLEEPER]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.2)
        child.send_signal(number)
        _, stderr = child.communicate(timeout=20)
    assert child.returncode == EXIT_INTERRUPTED
    assert "interrupted" in stderr
    assert "Traceback" not in stderr


def test_what_looks_like_markup_is_said_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    say("[red]a[/b] \x1b[31m" + "long/" * 40, warning="odd")
    said = capsys.readouterr().err
    assert said.startswith("odd: [red]a[/b] ")
    assert "\x1b" not in said
    assert "long/" * 40 in said
