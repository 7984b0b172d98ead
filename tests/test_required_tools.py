"""Tools of tests: installed once however many workers ask, and never missed in silence."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from required_tools import missing_tool, require_tool

APT = """#!/bin/sh
echo "$DEBIAN_FRONTEND $*" >> "{folder}/log"
[ "$(cat | wc -c)" = 0 ] || exit 1
case "$*" in
    *install*) sleep 0.3; printf '#!/bin/sh\\n' > "{folder}/wanted"; chmod +x "{folder}/wanted" ;;
esac
"""


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an apt-get of our own, first in PATH; the lock is kept there as well."""
    (tmp_path / "apt-get").write_text(APT.format(folder=tmp_path))
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return tmp_path


def test_two_workers_at_once_install_a_tool_once(apt: Path) -> None:
    with ThreadPoolExecutor(2) as workers:
        found = list(workers.map(lambda _: require_tool(("wanted",), "wanted-package"), range(2)))
    assert found == [str(apt / "wanted")] * 2
    update, install = (apt / "log").read_text().splitlines()
    assert update.startswith("noninteractive ") and update.endswith(" update")
    assert "DPkg::Lock::Timeout=300" in install and install.endswith(" wanted-package")


def test_any_of_several_names_will_do(apt: Path) -> None:
    (apt / "other").write_text("#!/bin/sh\n")
    (apt / "other").chmod(0o755)
    assert require_tool(("absent", "other"), "package") == str(apt / "other")
    assert not (apt / "log").exists()


def test_a_missing_tool_skips_and_fails_where_all_are_required(
    apt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TXTDIFF_REQUIRE_TOOLS", "0")
    with pytest.raises(pytest.skip.Exception, match="never-there"):
        require_tool(("never-there",), "package")
    monkeypatch.setenv("TXTDIFF_REQUIRE_TOOLS", "1")
    with pytest.raises(pytest.fail.Exception, match="weights"):
        missing_tool("weights")
