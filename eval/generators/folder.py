"""Anybody's pictures as a generator: a folder and a prompts.jsonl that says what each was to show."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from datatools.decode import Rejection, decode
from datatools.errors import InputError
from datatools.ocr import Polygon
from eval.generators.generator import Made
from eval.identity import identity
from eval.suites import Cell, Suite, SuitePrompt, read_jsonl
from eval.suites.public_prompts import PromptFormat, PublicPrompt, detect_format, read_public_prompts
from eval.suites.region_fields import polygons_of
from eval.suites.suite import MAX_TEXT_CHARS
from eval.sweep import Setting, make_setting

__all__ = ["FolderGenerator", "FolderPrompts", "Regions", "folder_setting", "load_prompts"]

_MAX_REPEATS = 16  # pictures of one prompt that are looked for; benchmarks have 4
_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class FolderPrompts:
    """A prompts file: its texts as a suite, and the file and the regions that belong to each cell."""

    suite: Suite
    files: Mapping[tuple[str, int], Path]
    cells: Sequence[Cell]
    regions: Mapping[tuple[str, int], Regions]

    def check_regions(self) -> None:
        """See that box mode has what it needs.

        Raises:
            InputError: a picture with text whose lines have no known places.
        """
        for cell in self.cells:
            n_lines = sum(bool(line.strip()) for line in cell.prompt.txt.split("\n"))
            known = self.regions.get((cell.prompt.id, cell.seed))
            if n_lines and (known is None or len(known.polygons) != n_lines):
                has = "no boxes" if known is None else f"{len(known.polygons)} boxes"
                name = self.files[cell.prompt.id, cell.seed].name
                raise InputError(
                    f"{name} has {has} for {n_lines} lines of text: --mode box needs one for each",
                    'Add "boxes": [[left, top, right, bottom], …] to its line, or read it with --mode e2e.',
                )


@dataclass(frozen=True, slots=True)
class Regions:
    """Where the lines of a picture stand; `size_px`: edge of the square picture they are given for."""

    polygons: tuple[Polygon, ...]
    size_px: int | None = None

    def in_picture(self, width_px: int, height_px: int) -> tuple[Polygon, ...]:
        """The regions in pixels of a picture of this size."""
        if self.size_px is None:
            return self.polygons
        x_scale, y_scale = width_px / self.size_px, height_px / self.size_px
        return tuple(tuple((x * x_scale, y * y_scale) for x, y in polygon) for polygon in self.polygons)


class FolderGenerator:
    """Takes pictures from files. A file that is missing or broken is a failed cell with its cause."""

    batch_size = 32

    def __init__(self, prompts: FolderPrompts) -> None:
        self._files, self._regions = prompts.files, prompts.regions

    def make(self, setting: Setting, cells: Sequence[Cell]) -> list[Made]:
        """Pictures as they lie in the folder, decoded and oriented."""
        return [self._load(cell) for cell in cells]

    def _load(self, cell: Cell) -> Made:
        path, regions = self._files[cell.prompt.id, cell.seed], self._regions.get((cell.prompt.id, cell.seed))
        try:
            picture = decode(path.read_bytes())
            height_px, width_px = picture.shape[:2]
            known = None if regions is None else regions.in_picture(width_px, height_px)
            return Made(cell, picture, regions=known)
        except FileNotFoundError:
            return Made(cell, None, "missing")
        except OSError:
            return Made(cell, None, "unreadable")
        except Rejection as error:
            return Made(cell, None, error.cause)


def load_prompts(path: Path, folder: Path, prompt_format: PromptFormat = "auto") -> FolderPrompts:
    """Read a prompts file: ours, or a benchmark's (`eval.suites.public_prompts`).

    Ours has one line per picture: `file`, `txt`, and if wanted `capt`, `prompt`, `seed` and `boxes`, one for
    each line of the text. Lines with the same text and description are pictures of one prompt: intervals are
    over prompts. A benchmark's has one line per prompt, whose pictures are looked for under its own names.

    Raises:
        InputError: no such folder or file, a line that does not fit, or a file outside of the folder.
    """
    if not folder.is_dir():
        raise InputError(f"no such folder: {folder}")
    if prompt_format == "auto":
        prompt_format = detect_format(path)
    if prompt_format != "jsonl":
        return _load_public(path, folder, prompt_format)
    files: dict[tuple[str, int], Path] = {}
    cells: list[Cell] = []
    regions: dict[tuple[str, int], Regions] = {}
    for number, row in enumerate(read_jsonl(path), 1):
        where = f"{path}, picture {number}"
        prompt = _prompt(row, where)
        cell = Cell(prompt, _free_seed(row.get("seed"), prompt.id, files, where))
        files[prompt.id, cell.seed] = _inside(folder, row.get("file"), where)
        if row.get("boxes") is not None:
            regions[prompt.id, cell.seed] = Regions(polygons_of(row["boxes"], where))
        cells.append(cell)
    prompts = tuple({cell.prompt.id: cell.prompt for cell in cells}.values())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return FolderPrompts(Suite(path.stem, 1, digest, 1, prompts), files, cells, regions)


def _load_public(path: Path, folder: Path, prompt_format: PromptFormat) -> FolderPrompts:
    """Every picture that some prompt has a number for is expected of all: a missing one counts as worst."""
    found = read_public_prompts(path, prompt_format)
    files: dict[tuple[str, int], Path] = {}
    regions: dict[tuple[str, int], Regions] = {}
    cells: list[Cell] = []
    there = [[k for k in range(_MAX_REPEATS) if _find(folder, one, k)] for one in found]
    n_pictures = max((numbers[-1] + 1 for numbers in there if numbers), default=0)
    if not n_pictures:
        raise InputError(
            f"{folder} holds no picture of {path}",
            f"The first would be {found[0].names[0].format(k=found[0].first_number)}.png.",
        )
    for one in found:
        for k in range(n_pictures):
            cell = Cell(one.prompt, k)
            key = (one.prompt.id, k)
            number = k + one.first_number
            files[key] = _find(folder, one, k) or folder / f"{one.names[0].format(k=number)}.png"
            cells.append(cell)
            if one.regions is not None:
                regions[key] = Regions(one.regions, one.regions_size_px)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    suite = Suite(path.stem, 1, digest, n_pictures, tuple(one.prompt for one in found))
    return FolderPrompts(suite, files, cells, regions)


def _find(folder: Path, one: PublicPrompt, k: int) -> Path | None:
    """Picture number k of a prompt, under the first of its names that is there."""
    for name in one.names:
        if k and "{k}" not in name:
            continue
        stem = name.format(k=k + one.first_number)
        path = PurePosixPath(stem)
        if path.is_absolute() or ".." in path.parts or "\0" in stem:
            continue
        for ending in _ENDINGS:
            file = folder / f"{stem}{ending}"
            if len(file.name.encode()) < 255 and file.is_file():
                return file
    return None


def folder_setting(prompts: FolderPrompts, name: str) -> Setting:
    """The row of a folder. Its identity is its pictures' content: other pictures make another row."""
    content = [
        (*key, hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None)
        for key, path in prompts.files.items()
    ]
    places = {f"{prompt_id} {seed}": one.polygons for (prompt_id, seed), one in prompts.regions.items()}
    spec = {"generator": "folder", "suite": prompts.suite.id, "name": name, "pictures": identity(content, 16)}
    if places:  # the same pictures with other boxes are read elsewhere
        spec["regions"] = identity(places, 16)
    return make_setting(spec, name)


def _prompt(row: Mapping[str, Any], where: str) -> SuitePrompt:
    txt, capt = row.get("txt"), row.get("capt")
    if not isinstance(txt, str):
        raise InputError(f"{where}: 'txt' is missing or no text", "It is the text the picture should show.")
    if not (capt is None or isinstance(capt, str)):
        raise InputError(f"{where}: 'capt' is no text")
    if len(txt) > MAX_TEXT_CHARS or len(capt or "") > MAX_TEXT_CHARS:
        raise InputError(f"{where}: a text of more than {MAX_TEXT_CHARS} characters")
    prompt = row.get("prompt")
    if not (prompt is None or isinstance(prompt, str)):
        raise InputError(f"{where}: 'prompt' is no text")
    return SuitePrompt(identity([txt, capt, prompt]), _stratum(row, txt), txt, capt, prompt)


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
