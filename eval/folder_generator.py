"""Anybody's pictures as a generator: a folder and a prompts.jsonl that says what each was to show."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from datatools.decode import Rejection, decode
from datatools.errors import InputError
from eval.generators import Made
from eval.identity import identity
from eval.suite import MAX_TEXT_CHARS, Cell, Suite, SuitePrompt, read_jsonl
from eval.sweep import Setting, make_setting

__all__ = ["FolderGenerator", "FolderPrompts", "folder_setting", "load_prompts"]

_BATCH = 32


@dataclass(frozen=True)
class FolderPrompts:
    """A prompts file: its texts as a suite, and the file that belongs to each cell."""

    suite: Suite
    files: Mapping[tuple[str, int], Path]
    cells: Sequence[Cell]


class FolderGenerator:
    """Takes pictures from files. A file that is missing or broken is a failed cell with its cause."""

    def __init__(self, files: Mapping[tuple[str, int], Path]) -> None:
        self._files = files

    def make(self, setting: Setting, cells: Sequence[Cell]) -> Iterator[list[Made]]:
        """Batches of pictures as they lie in the folder, decoded and oriented."""
        for start in range(0, len(cells), _BATCH):
            yield [self._load(cell) for cell in cells[start : start + _BATCH]]

    def _load(self, cell: Cell) -> Made:
        path = self._files[cell.prompt.id, cell.seed]
        try:
            return Made(cell, decode(path.read_bytes()))
        except FileNotFoundError:
            return Made(cell, None, "missing")
        except OSError:
            return Made(cell, None, "unreadable")
        except Rejection as error:
            return Made(cell, None, error.cause)


def load_prompts(path: Path, folder: Path) -> FolderPrompts:
    """Read a prompts file, one line per picture: `file`, `txt`, and if wanted `capt`, `prompt`, `seed`.

    Lines with the same text and description are pictures of one prompt: intervals are over prompts.

    Raises:
        InputError: no such folder or file, a line that does not fit, or a file outside of the folder.
    """
    if not folder.is_dir():
        raise InputError(f"no such folder: {folder}")
    files: dict[tuple[str, int], Path] = {}
    cells: list[Cell] = []
    for number, row in enumerate(read_jsonl(path), 1):
        where = f"{path}, picture {number}"
        prompt = _prompt(row, where)
        cell = Cell(prompt, _free_seed(row.get("seed"), prompt.id, files, where))
        files[prompt.id, cell.seed] = _inside(folder, row.get("file"), where)
        cells.append(cell)
    prompts = tuple({cell.prompt.id: cell.prompt for cell in cells}.values())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return FolderPrompts(Suite(path.stem, 1, digest, 1, prompts), files, cells)


def folder_setting(prompts: FolderPrompts, name: str) -> Setting:
    """The row of a folder. Its identity is its pictures' content: other pictures make another row."""
    content = [
        (*key, hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None)
        for key, path in prompts.files.items()
    ]
    spec = {"generator": "folder", "suite": prompts.suite.id, "name": name, "pictures": identity(content, 16)}
    return make_setting(spec, name)


def _prompt(row: Mapping[str, Any], where: str) -> SuitePrompt:
    txt, capt = row.get("txt"), row.get("capt")
    if not isinstance(txt, str):
        raise InputError(f"{where}: 'txt' is missing or no text", "It is the text the picture should show.")
    if not (capt is None or isinstance(capt, str)):
        raise InputError(f"{where}: 'capt' is no text")
    if len(txt) > MAX_TEXT_CHARS or len(capt or "") > MAX_TEXT_CHARS:
        raise InputError(f"{where}: a text of more than {MAX_TEXT_CHARS} characters")
    return SuitePrompt(identity([txt, capt, row.get("prompt")]), _stratum(row, txt), txt, capt)


def _stratum(row: Mapping[str, Any], txt: str) -> str:
    if isinstance(row.get("stratum"), str):
        return str(row["stratum"])
    n_lines, n_words = len(txt.strip().splitlines()), len(txt.split())
    if not n_words:
        return "empty"
    return f"lines-{n_lines}" if n_lines > 1 else f"words-{min(n_words, 10)}"


def _free_seed(seed: Any, prompt_id: str, taken: Mapping[tuple[str, int], Path], where: str) -> int:
    if seed is None:
        return next(n for n in range(len(taken) + 1) if (prompt_id, n) not in taken)
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise InputError(f"{where}: 'seed' is no whole number from 0 to 2^63 - 1")
    if (prompt_id, seed) in taken:
        raise InputError(f"{where}: the same text, description and seed as {taken[prompt_id, seed].name}")
    return seed


def _inside(folder: Path, name: Any, where: str) -> Path:
    if not isinstance(name, str) or not name or "\0" in name:
        raise InputError(f"{where}: 'file' is missing or no text")
    path = PurePosixPath(name)
    if (
        path.is_absolute()
        or ".." in path.parts
        or not (folder / path).resolve().is_relative_to(folder.resolve())
    ):
        raise InputError(f"{where}: '{name}' leaves the folder {folder}")
    return folder / path
