"""What every room's tests share."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
import torch

# The suite runs one worker a core (make test); more threads than that only wait for each other.
torch.set_num_threads(1)


def require_tool(program: str, package: str) -> str:
    """Path of a program a test needs: installed already, else by apt when root, else the test is skipped.

    With TXTDIFF_REQUIRE_TOOLS=1 (CI) a missing program fails the test instead.
    """
    if shutil.which(program) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", package]):
            subprocess.run(command, check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=600)
    found = shutil.which(program)
    if found is None:
        reason = f"needs {program} (Debian package {package})"
        pytest.fail(reason) if os.environ.get("TXTDIFF_REQUIRE_TOOLS") == "1" else pytest.skip(reason)
    assert found is not None
    return found
