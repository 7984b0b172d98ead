"""What every room's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from required_tools import require_tool
from short_runs import Mother

# The suite runs one worker a core (make test); more threads than that only wait for each other.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium."""
    return require_tool(("chromium", "chromium-browser", "google-chrome"), "chromium")


@pytest.fixture(scope="session")
def tesseract() -> str:
    """Path of tesseract, which comes with its English model."""
    return require_tool(("tesseract",), "tesseract-ocr")


@pytest.fixture(scope="module")
def mother() -> Iterator[Mother]:
    """Runs benchmarks and endurance tests in their short form."""
    with Mother() as mother:
        yield mother
