"""Keys, sidecars, .txt files and names in tar shards from a stranger: round trips, refusals, nothing outside.

    python tests/datatools/soak_parsers.py --n-keys 100000 --n-files 50000 --n-members 2000

Hypothesis makes the cases, which takes nearly all of the time, 1 to 3 ms each. Everything is either
understood, and then comes back as it was, or refused with an InputError (a .txt: ValueError); no other
exception, and no path out of its root.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_reader import draw
from test_build import build, rows

from datatools.errors import InputError
from datatools.keys import _PLAIN, _broken_rule, key_below, make_key
from datatools.sidecars import read_sidecar
from datatools.sidecars.captions import read_captions
from datatools.sidecars.texts import parse_txt

PARTS = st.sampled_from(
    ["..", ".", "", "a", "b.png", "C:", "\\", "\0", "e\u0301", "x" * 256, "~", " ", "-rf"]
)
PATHS = st.lists(st.one_of(PARTS, st.text(max_size=12)), min_size=1, max_size=5).map("/".join)
NUMBERS = st.one_of(st.integers(-(2**70), 2**70), st.floats(), st.booleans(), st.none(), st.text(max_size=5))
VALUES = st.recursive(NUMBERS, lambda inner: st.lists(inner, max_size=5), max_leaves=8)
BOXES = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=4, max_size=4)
PLAIN_KEYS = [*"abc", *(f"{folder}/{name}" for folder in ("a", "bc", "def") for name in "ghi")]
KEYS = st.one_of(st.sampled_from(PLAIN_KEYS), PATHS)
ROWS = st.lists(st.tuples(KEYS, st.one_of(BOXES, BOXES, BOXES, VALUES)), max_size=3)


def main(
    n_keys: Annotated[int, typer.Option(help="Keys.")] = 100_000,
    n_files: Annotated[int, typer.Option(help="Files for each parser.")] = 50_000,
    n_members: Annotated[int, typer.Option(help="Names in a tar shard.")] = 2_000,
) -> None:
    """Print the number of cases of each parser."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        done = {
            "keys": (n_keys, soak(PATHS, n_keys, lambda text: check_key(folder / "root", text))),
            "sidecar files, bytes": (
                n_files,
                soak(st.binary(max_size=200), n_files, lambda b: check_bytes(folder, b)),
            ),
            "sidecar files, JSON of any shape": (
                n_files,
                soak(ROWS, n_files, lambda r: check_rows(folder, r)),
            ),
            ".txt files": (
                n_files,
                soak(st.one_of(st.binary(max_size=80), st.text().map(str.encode)), n_files, check_txt),
            ),
        }
        done["names in a tar shard"] = (n_members, tar_members(folder / "watched", n_members))
    print("| parser | cases | understood |\n|---|---|---|")
    for what, (n, n_understood) in done.items():
        print(f"| {what} | {n} | {n_understood} |")


def soak(strategy: st.SearchStrategy[Any], n: int, check: Callable[[Any], bool]) -> int:
    """Check `n` cases; how many were understood."""
    understood = 0

    @settings(max_examples=n, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def cases(case: Any) -> None:
        nonlocal understood
        understood += check(case)

    cases()
    return understood


def check_key(root: Path, text: str) -> bool:
    """A key stays below its root; the quick way of seeing that it is one agrees with the rules."""
    assert not (_PLAIN.fullmatch(text) and _broken_rule(text)), text
    try:
        key = make_key(text)
        path = key_below(root, key)
    except InputError:
        return False
    assert path.resolve().is_relative_to(root.resolve())
    assert path != root
    assert make_key(key) == key
    return True


def check_bytes(folder: Path, data: bytes) -> bool:
    """Any bytes as a sidecar and as captions."""
    path = folder / "any.jsonl"
    path.write_bytes(data)
    return all([_understood(lambda: read_sidecar(path, "safebox")), _understood(lambda: read_captions(path))])


def check_rows(folder: Path, entries: list[tuple[str, Any]]) -> bool:
    """JSON of the right outline with any keys and values, in both forms; what is understood comes back."""
    lines, fork = folder / "lines.jsonl", folder / "fork.json"
    lines.write_text("".join(json.dumps({"key": key, "safebox": value}) + "\n" for key, value in entries))
    fork.write_text(json.dumps(dict(entries)))
    understood = True
    for path in (lines, fork):
        try:
            found = read_sidecar(path, "safebox").values
        except InputError:
            understood = False
        else:
            assert found == {key: value for key, value in dict(entries).items() if value is not None}
    return understood


def check_txt(data: bytes) -> bool:
    """A text comes back as it was read, however its lines ended."""
    try:
        text = parse_txt(data)
    except ValueError:
        return False
    assert parse_txt(text.encode() + b"\n") == text
    return True


def tar_members(watched: Path, n: int) -> int:
    """Build from a shard with hostile names, writing .txt files; nothing may appear outside their folder."""
    inside = watched / "inside"
    inside.mkdir(parents=True)
    picture = draw(watched.parent / "word.png", "word").read_bytes()
    names: list[str] = []

    @settings(max_examples=n, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(PATHS)
    def collect(path: str) -> None:
        names.append(f"{path}.png".replace("::", ":"))

    collect()
    with tarfile.open(inside / "shard.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for name in names:
            if "\0" not in name and name.isprintable():
                member = tarfile.TarInfo(name)
                member.size = len(picture)
                tar.addfile(member, io.BytesIO(picture))
    before = _tree(watched.parent)
    build(
        inside / "shard.tar",
        inside / "c.duckdb",
        write_txt=inside / "texts",
        chunk_pictures=64,
        commit_pictures=512,
    )
    new = _tree(watched.parent) - before
    assert all(Path(path).is_relative_to(inside) for path in new), sorted(new)[:5]
    assert not any(".." in Path(path).parts for path in new)
    [(n_read,)] = rows(inside / "c.duckdb", "SELECT count(*) FROM pictures WHERE status = 'ok'")
    failed = dict(rows(inside / "c.duckdb", "SELECT cause, count(*) FROM failures GROUP BY cause"))  # type: ignore[arg-type]
    assert set(failed) <= {"bad_name", "bad_txt"}, failed
    return int(str(n_read))


def _tree(folder: Path) -> set[str]:
    return {os.path.join(place, name) for place, _, names in os.walk(folder) for name in names}  # noqa: PTH118


def _understood(parse: Callable[[], object]) -> bool:
    try:
        parse()
    except InputError:
        return False
    return True


if __name__ == "__main__":
    typer.run(main)
