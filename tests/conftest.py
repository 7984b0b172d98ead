"""What every room's tests share."""

from __future__ import annotations

import pytest
import torch
from required_tools import require_tool

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
