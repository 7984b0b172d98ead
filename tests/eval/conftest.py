"""What the evaluation's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import Browser
from required_tools import missing_tool

from datatools.errors import InputError
from eval.networks.inception import Inception
from eval.networks.inception_weights import open_inception


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    """A headless Chromium with one tab."""
    browser = Browser(chromium)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def inception() -> Inception:
    """The Inception network on the CPU."""
    try:
        return open_inception(device="cpu")
    except InputError as error:
        missing_tool(f"Inception weights: {error}")
