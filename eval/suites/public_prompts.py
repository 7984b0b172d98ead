"""Prompt files of public benchmarks, as their authors publish them: what is to be written, and where.

Each benchmark names the picture of a prompt in its own way; their names are tried in turn. Quirks of a
format are kept and said in the docstring of its reader, and on the page docs/score-your-own.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from datatools.bounded_files import read_text
from datatools.errors import InputError
from eval.suites.region_fields import polygons_of
from eval.suites.suite import MAX_FILE_BYTES, MAX_TEXT_CHARS, SuitePrompt, read_jsonl

if TYPE_CHECKING:  # prompts are read without readers
    from datatools.ocr import Polygon

__all__ = ["PROMPT_FORMATS", "PromptFormat", "PublicPrompt", "detect_format", "read_public_prompts"]

PromptFormat = Literal["auto", "jsonl", "synth", "mario", "anytext", "glyphcontrol", "drawtext", "longtext"]
PROMPT_FORMATS: tuple[PromptFormat, ...] = get_args(PromptFormat)

_ANYTEXT_MAX_LINES, _ANYTEXT_MAX_CHARS, _ANYTEXT_SIZE_PX = 20, 20, 512


@dataclass(frozen=True, slots=True)
class PublicPrompt:
    """One prompt of a benchmark.

    `names` are file names without ending of its picture number `{k}`, counted from `first_number`; a name
    without `{k}` is the only picture.
    """

    prompt: SuitePrompt
    names: tuple[str, ...]
    first_number: int = 0
    regions: tuple[Polygon, ...] | None = None
    regions_size_px: int | None = None
    """Edge of the square picture that regions are given for; None: of the picture itself."""


def detect_format(path: Path) -> PromptFormat:
    """Which format a file has, by its content.

    Raises:
        InputError: none that is known.
    """
    text = _text(path)
    if text.lstrip().startswith("{"):
        first = _first_object(text)
        for key, name in _KEYS:
            if key in first:
                return name
        raise InputError(f"{path}: no known prompt file", _REMEDY)
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        raise InputError(f"{path} is empty", _REMEDY)
    single, double = (sum(len(re.findall(f"{q}.+?{q}", line)) > 0 for line in lines) for q in "'\"")
    if max(single, double) * 2 > len(lines):
        return "mario" if single > double else "glyphcontrol"
    if all(len(line.split("\t")[0].split()) == 1 for line in lines):
        return "drawtext"
    raise InputError(f"{path}: no known prompt file", _REMEDY)


def read_public_prompts(path: Path, prompt_format: PromptFormat = "auto") -> list[PublicPrompt]:
    """The prompts of a benchmark's file.

    Raises:
        InputError: no such file, or it does not have that format.
    """
    name = detect_format(path) if prompt_format == "auto" else prompt_format
    if name not in _READERS:
        raise InputError(
            f"{path} is no benchmark's prompt file", "It goes to `txtdiff-eval score --prompts`."
        )
    try:
        prompts = list(_READERS[name](path))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} does not have the format '{name}': {error!r}", _REMEDY) from error
    if not prompts:
        raise InputError(f"{path} holds no prompts", _REMEDY)
    for one in prompts:
        if len(one.prompt.txt) > MAX_TEXT_CHARS:
            raise InputError(f"{path}: a text of more than {MAX_TEXT_CHARS} characters")
    return prompts


def _mario(path: Path) -> Iterator[PublicPrompt]:
    """MARIO-Eval (TextDiffuser 2023): one prompt a line, keywords between single quotes, `'(.*?)'`.

    Quirk kept: an apostrophe is a quote to them, so `it's a 'sale'` asks for "s a". A line without quotes
    asks for no text. Pictures: images_0/12_0.jpg, line 12 from 0, picture 0.
    """
    for i, line in enumerate(_lines(path)):
        phrases = [" ".join(found.split()) for found in re.findall(r"'(.*?)'", line)]
        txt = "\n".join(filter(None, phrases))
        prompt = SuitePrompt(str(i), _stratum(txt), txt, None, line)
        yield PublicPrompt(prompt, (f"images_{{k}}/{i}_{{k}}", f"{i}_{{k}}", f"{path.stem}_{i}_{{k}}"))


def _quoted(path: Path) -> Iterator[PublicPrompt]:
    """SimpleBench and CreativeBench (GlyphControl 2023), DrawText Creative: the text between double quotes.

    Without quotes a line is the text itself, up to a tab (raw/SimpleBench, DrawText Spelling); the prompt is
    then GlyphControl's, `A sign that says "…".` Pictures: accept/accept_0.jpg, or by line, 12_0.jpg.
    """
    for i, line in enumerate(_lines(path)):
        phrases = re.findall(r'"(.*?)"', line)
        txt = "\n".join(filter(None, map(str.strip, phrases))) if phrases else line.split("\t")[0].strip()
        text = " ".join(txt.split())
        prompt = SuitePrompt(
            str(i), _stratum(txt), txt, None, line if phrases else f'A sign that says "{text}".'
        )
        folder = text.replace("/", "_").replace("{", "{{").replace("}", "}}")
        yield PublicPrompt(prompt, (f"{folder}/{folder}_{{k}}", f"{i}_{{k}}", f"{i:04d}_{{k}}"))


def _anytext(path: Path) -> Iterator[PublicPrompt]:
    """AnyText-benchmark (2024): test1k.json, lines with polygons in a 512 px picture.

    As their loader: lines without polygon or marked invalid are left out, at most 20 lines, **each cut to 20
    characters**, the placeholder `*` of the caption is a blank. Pictures: <img_name>_0.jpg to _3.
    """
    for row in json.loads(_text(path))["data_list"]:
        lines = [a for a in row.get("annotations", []) if len(a["polygon"]) and a.get("valid") is not False]
        lines = lines[:_ANYTEXT_MAX_LINES]
        txt = "\n".join(" ".join(str(a["text"])[:_ANYTEXT_MAX_CHARS].split("\n")) for a in lines)
        stem = Path(row["img_name"]).name.split(".")[0]
        caption = str(row["caption"]).replace("*", " ")
        prompt = SuitePrompt(stem, _stratum(txt), txt, None, caption)
        regions = polygons_of([a["polygon"] for a in lines], f"{path}, {stem}")
        name = stem.replace("{", "{{").replace("}", "}}")
        yield PublicPrompt(prompt, (f"{name}_{{k}}",), 0, regions, _ANYTEXT_SIZE_PX)


def _longtext(path: Path) -> Iterator[PublicPrompt]:
    """LongText-Bench (X-Omni 2025): `text` is a list of passages, one line each here.

    Pictures: 0000_1.png to 0000_4.png, by `prompt_id`, counted from 1.
    """
    for row in read_jsonl(path):
        text = row["text"]
        passages = text if isinstance(text, list) else [text]
        txt = "\n".join(" ".join(str(passage).split()) for passage in passages)
        number = int(row["prompt_id"])
        stratum = str(row.get("category") or _stratum(txt))
        prompt = SuitePrompt(f"{number:04d}", stratum, txt, None, str(row["prompt"]))
        yield PublicPrompt(prompt, (f"{number:04d}_{{k}}", f"{number}_{{k}}"), 1)


def _synth(path: Path) -> Iterator[PublicPrompt]:
    """truth.jsonl of `datatools synth`: the text, and the polygon of each line."""
    for row in read_jsonl(path):
        lines, key = row["lines"], str(row["key"])
        txt = "\n".join(str(line["text"]) for line in lines)
        regions = polygons_of([line["polygon"] for line in lines], f"{path}, {key}")
        name = str(Path(key).with_suffix("")).replace("{", "{{").replace("}", "}}")
        yield PublicPrompt(SuitePrompt(key, _stratum(txt), txt), (name,), 0, regions)


_READERS: dict[str, Callable[[Path], Iterator[PublicPrompt]]] = {
    "mario": _mario,
    "glyphcontrol": _quoted,
    "drawtext": _quoted,
    "anytext": _anytext,
    "longtext": _longtext,
    "synth": _synth,
}
_KEYS: Sequence[tuple[str, PromptFormat]] = (
    ("data_list", "anytext"),
    ("file", "jsonl"),
    ("lines", "synth"),
    ("prompt_id", "longtext"),
)
_REMEDY = (
    f"Known: {', '.join(name for name in PROMPT_FORMATS if name != 'auto')}; see docs/score-your-own.md."
)


def _first_object(text: str) -> dict[str, Any]:
    for candidate in (text.lstrip().split("\n", 1)[0], text):
        try:
            found = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        return found if isinstance(found, dict) else {}
    return {}


def _text(path: Path) -> str:
    return read_text(path, "prompts", MAX_FILE_BYTES)


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in _text(path).rstrip("\n").split("\n")]


def _stratum(txt: str) -> str:
    n_lines, n_words = len(txt.strip().splitlines()), len(txt.split())
    if not n_words:
        return "empty"
    return f"lines-{n_lines}" if n_lines > 1 else f"words-{min(n_words, 10)}"
