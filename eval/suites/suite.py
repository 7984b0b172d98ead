"""What pictures are asked for: prompt suites, versioned and hashed, and the seeds of their pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datatools.bounded_files import read_text
from datatools.errors import InputError, suggest

__all__ = [
    "MAX_FILE_BYTES",
    "Cell",
    "Suite",
    "SuitePrompt",
    "bundled_suites",
    "cells_of",
    "load_suite",
    "read_jsonl",
]

_FOLDER = Path(__file__).parent
MAX_FILE_BYTES = 256 * 2**20
_MAX_IN_HEAD = 10_000  # versions and pictures per prompt; a stranger's file must not fill the memory
MAX_TEXT_CHARS = 20_000


@dataclass(frozen=True, slots=True)
class SuitePrompt:
    """One text to write. `stratum` is the kind it is counted under; `capt` describes the picture."""

    id: str
    stratum: str
    txt: str
    capt: str | None = None
    prompt: str | None = None
    """The whole prompt for models that take one text; None: put together from `txt` and `capt`."""


@dataclass(frozen=True, slots=True)
class Suite:
    """A list of prompts under one name. `digest` is the sha256 of the file, so an edit cannot go unseen."""

    name: str
    version: int
    digest: str
    images_per_prompt: int
    prompts: tuple[SuitePrompt, ...]

    @property
    def id(self) -> str:
        """Name, version and the first letters of the digest: what rows are grouped by."""
        return f"{self.name}-{self.version}-{self.digest[:8]}"


@dataclass(frozen=True, slots=True)
class Cell:
    """One picture to be made: a prompt and the seed of its noise."""

    prompt: SuitePrompt
    seed: int


def bundled_suites() -> list[str]:
    """Names of the suites that come with the package, smallest first."""
    return [path.stem for path in sorted(_FOLDER.glob("*.jsonl"), key=lambda path: path.stat().st_size)]


def load_suite(name: str, limit: int | None = None) -> Suite:
    """A bundled suite by name, or a file of the same form by path.

    Args:
        name: "smoke", "dev", "full", the path of a .jsonl file whose first line names the suite, or the
            prompt file of a public benchmark (`eval.suites.public_prompts`).
        limit: only the first so many prompts. Kinds alternate in the file, so any beginning is a fair mix.

    Raises:
        InputError: no such suite, a line that is no prompt, or a limit below 1.
    """
    path = _FOLDER / f"{name}.jsonl" if name in bundled_suites() else Path(name)
    if not path.is_file():
        raise InputError(
            f"no suite '{name}'", suggest(name, bundled_suites()) or f"Suites: {', '.join(bundled_suites())}"
        )
    if limit is not None and limit < 1:
        raise InputError(f"a limit of {limit} prompts leaves nothing to make", "Give --limit 1 or more.")
    if path.suffix != ".jsonl":
        return _limited(_public_suite(path), limit)
    head, *rows = read_jsonl(path)
    if "suite" not in head and "prompt_id" in head:
        return _limited(_public_suite(path), limit)
    if "suite" not in head:
        raise InputError(
            f"{path}: the first line does not name the suite", 'Write {"suite": "NAME", "version": 1}'
        )
    suite = Suite(
        name=str(head["suite"]),
        version=_whole_number(head, "version", path),
        digest=hashlib.sha256(path.read_bytes()).hexdigest(),
        images_per_prompt=_whole_number(head, "images_per_prompt", path),
        prompts=tuple(_prompt(row, f"{path} line {number}") for number, row in enumerate(rows, 2)),
    )
    if not suite.prompts:
        raise InputError(f"{path}: a suite without prompts")
    _check_unique(suite, path)
    return _limited(suite, limit)


def _limited(suite: Suite, limit: int | None) -> Suite:
    return suite if limit is None else replace(suite, prompts=suite.prompts[:limit])


def _public_suite(path: Path) -> Suite:
    """A benchmark's prompts as a suite, four pictures each, as all of them have it."""
    from eval.suites.public_prompts import read_public_prompts  # it reads prompts into this module's types

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    prompts = tuple(one.prompt for one in read_public_prompts(path))
    return Suite(path.stem, 1, digest, 4, prompts)


def cells_of(suite: Suite) -> list[Cell]:
    """Every picture of a suite. Seeds depend on the prompt and its repeat alone: common random numbers.

    All settings draw the same noise for the same cell, so that differences between rows are differences
    between settings (paired comparison), and a longer suite keeps the cells of a shorter one.
    """
    return [
        Cell(prompt, _seed(suite.name, prompt.id, repeat))
        for prompt in suite.prompts
        for repeat in range(suite.images_per_prompt)
    ]


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file, empty lines skipped.

    Raises:
        InputError: no such file, too large, not UTF-8, or a line that is no JSON object, by its number.
    """
    rows = list(_rows(path))
    if not rows:
        raise InputError(f"{path} is empty", "It must hold one JSON object per line.")
    return rows


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    text = read_text(path, "JSON Lines", MAX_FILE_BYTES)
    # Only "\n" ends a line: str.splitlines would cut texts at U+2028, which JSON leaves as it is.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path} line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise InputError(f"{path} line {number} is not a JSON object")
        yield row


def _whole_number(head: dict[str, Any], key: str, path: Path) -> int:
    value = head.get(key, 1)
    if type(value) is not int or not 1 <= value <= _MAX_IN_HEAD:
        raise InputError(f"{path} line 1: '{key}' is no whole number from 1 to {_MAX_IN_HEAD}")
    return value


def _prompt(row: dict[str, Any], where: str) -> SuitePrompt:
    capt, prompt = row.get("capt"), row.get("prompt")
    if not isinstance(row.get("txt"), str) or not all(isinstance(x, str | None) for x in (capt, prompt)):
        raise InputError(f"{where}: 'txt' must be a text, 'capt' and 'prompt' a text or null")
    if len(row["txt"]) > MAX_TEXT_CHARS or len(capt or "") > MAX_TEXT_CHARS:
        raise InputError(f"{where}: a text of more than {MAX_TEXT_CHARS} characters")
    stratum = str(row.get("stratum", "empty" if not row["txt"].strip() else "all"))
    return SuitePrompt(str(row.get("id", where.rpartition(" ")[2])), stratum, row["txt"], capt, prompt)


def _check_unique(suite: Suite, path: Path) -> None:
    seen: set[str] = set()
    for prompt in suite.prompts:
        if prompt.id in seen:
            raise InputError(f"{path}: two prompts have the id '{prompt.id}'")
        seen.add(prompt.id)


def _seed(*parts: Any) -> int:
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 33  # 31 bits: fits every generator's seed
