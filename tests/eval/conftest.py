"""What the evaluation's tests share."""

from __future__ import annotations

import os

import pytest

from datatools.errors import InputError
from eval.inception import Inception
from eval.inception_weights import open_inception


def missing_tool(what: str) -> None:
    """Skip with a line that says what is missing; where every tool must be there, fail instead."""
    if os.environ.get("TXTDIFF_REQUIRE_TOOLS") == "1":
        pytest.fail(f"needs {what}")
    pytest.skip(f"needs {what}")


@pytest.fixture(scope="session")
def inception() -> Inception:
    """The Inception network on the CPU."""
    try:
        return open_inception(device="cpu")
    except InputError as error:
        missing_tool(f"Inception weights: {error}")
        raise
