"""Programs that single tests need: found, or installed by apt where possible, or said to be missing."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import pytest

__all__ = ["missing_tool", "require_tool"]

APT_TIMEOUT_S = 600


def require_tool(programs: Sequence[str], package: str) -> str:
    """Path of the first of these programs; when there is none and this is root, by apt from a Debian package.

    Without it the test is skipped; with TXTDIFF_REQUIRE_TOOLS=1 (CI) it fails.
    """
    found = _find(programs)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        with _one_at_a_time():
            found = _find(programs)  # another worker may have installed it meanwhile
            if found is None:
                _install(package)
                found = _find(programs)
    if found is None:
        missing_tool(f"{programs[0]} (Debian package {package})")
    return found


def missing_tool(what: str) -> NoReturn:
    """Skip with a line that says what is missing; where every tool must be there, fail instead."""
    if os.environ.get("TXTDIFF_REQUIRE_TOOLS") == "1":
        pytest.fail(f"needs {what}")
    pytest.skip(f"needs {what}")


def _find(programs: Sequence[str]) -> str | None:
    return next(filter(None, map(shutil.which, programs)), None)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Workers of one test run wait for each other here: the system knows a single apt at a time."""
    with (Path(tempfile.gettempdir()) / "txtdiff-tests-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(package: str) -> None:
    # A machine's own apt, as that of unattended upgrades, is waited for rather than failed on.
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in ([*apt, "update"], [*apt, "install", "-y", "--no-install-recommends", package]):
        with suppress(subprocess.TimeoutExpired):  # the program is looked for again and said to be missing
            subprocess.run(
                command,
                check=False,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                env=environment,
                timeout=APT_TIMEOUT_S,
            )
