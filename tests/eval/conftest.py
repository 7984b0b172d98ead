"""What the evaluation's tests share."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import NoReturn

import pytest
from browser import Browser

from datatools.errors import InputError
from eval.inception import Inception
from eval.inception_weights import open_inception


def missing_tool(what: str) -> NoReturn:
    """Skip with a line that says what is missing; where every tool must be there, fail instead."""
    if os.environ.get("TXTDIFF_REQUIRE_TOOLS") == "1":
        pytest.fail(f"needs {what}")
    pytest.skip(f"needs {what}")


def chromium() -> str | None:
    """The path of a Chromium, installed with apt when this is root on a machine that has apt."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}
        subprocess.run(["apt-get", "update", "-qq"], **quiet)
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"], **quiet)
        found = shutil.which("chromium")
    return found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium with one tab."""
    program = chromium()
    if program is None:
        missing_tool("chromium (apt-get install chromium)")
    browser = Browser(program)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def inception() -> Inception:
    """The Inception network on the CPU."""
    try:
        return open_inception(device="cpu")
    except InputError as error:
        missing_tool(f"Inception weights: {error}")
