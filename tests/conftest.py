"""What every room's tests share."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import fsspec
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


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """A real S3 server process (moto) on loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/moto-api/").close()
                break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> fsspec.AbstractFileSystem:
    """That server as a user's own, by the usual variables."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return fsspec.filesystem("s3")
