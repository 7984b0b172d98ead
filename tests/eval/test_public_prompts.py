"""Prompt files of public benchmarks, in the very form in which their authors publish them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from eval_fakes import Finder, hide, store_path
from PIL import Image

import eval.commands.jobs
from datatools.errors import InputError
from eval.commands.jobs import score_folder
from eval.generators.folder import load_prompts
from eval.scoring.options import ScoreOptions
from eval.store import open_store
from eval.suites import load_suite
from eval.suites.public_prompts import detect_format, read_public_prompts

MARIO = """A poster titled 'Quartet' with a 'New York' skyline
A storefront with 'Deep Learning' written on it
it's a 'sale'
A photo of a cat
"""
SIMPLE = 'A sign that says "accept".\nA sign that says "acquire".\nA sign that says "african".\n'
CREATIVE = 'There is a sign saying "accept" in the mall.\n"acquire" warning printed on the entrance.\n'
SPELLING = "accept\t12\nacquire\t9\nafrican\t4\n"
ANYTEXT = {
    "data_list": [
        {
            "img_name": "000053398.jpg",
            "caption": "a sign that says * and *",
            "annotations": [
                {"polygon": [[10, 20], [110, 20], [110, 60], [10, 60]], "text": "OPEN", "pos": 17,
                 "valid": True, "language": "Latin"},
                {"polygon": [[10, 80], [500, 80], [500, 120], [10, 120]], "pos": 23, "valid": True,
                 "text": "a line of more than twenty characters", "language": "Latin"},
                {"polygon": [[1, 1], [2, 1], [2, 2], [1, 2]], "text": "###", "pos": 3, "valid": False,
                 "language": "Latin"},
                {"polygon": [], "text": "nowhere", "pos": 3, "valid": True, "language": "Latin"},
            ],
        }
    ]
}  # fmt: skip
LONGTEXT = [
    {"category": "signboard", "length": "short", "prompt": 'A board reads "Mind the gap"', "prompt_id": 0,
     "text": ["Mind the gap", "between train and platform"], "text_length": 7},
    {"category": "poster", "length": "long", "prompt": "A poster", "prompt_id": 1, "text": ["Summer school"]},
]  # fmt: skip


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text", "expected", "texts"),
    [
        ("TMDBEval500.txt", MARIO, "mario", ["Quartet\nNew York", "Deep Learning", "s a", ""]),
        ("simple.txt", SIMPLE, "glyphcontrol", ["accept", "acquire", "african"]),
        ("creative.txt", CREATIVE, "glyphcontrol", ["accept", "acquire"]),
        ("DrawText_Spelling_1.txt", SPELLING, "drawtext", ["accept", "acquire", "african"]),
        ("test1k.json", json.dumps(ANYTEXT), "anytext", ["OPEN\na line of more than "]),
        ("text_prompts.jsonl", "".join(json.dumps(row) + "\n" for row in LONGTEXT), "longtext",
         ["Mind the gap\nbetween train and platform", "Summer school"]),
    ],
)  # fmt: skip
def test_each_format_is_told_by_its_content_and_says_what_is_to_be_written(
    tmp_path: Path, name: str, text: str, expected: str, texts: list[str]
) -> None:
    path = write(tmp_path, name, text)
    assert detect_format(path) == expected
    assert [one.prompt.txt for one in read_public_prompts(path)] == texts
    suite = load_suite(str(path))  # a model of ours or a diffusers pipeline is asked for the same
    assert [prompt.txt for prompt in suite.prompts] == texts
    assert suite.images_per_prompt == 4
    assert all(prompt.prompt for prompt in suite.prompts)


def test_anytext_regions_are_of_its_512_px_and_follow_the_picture(tmp_path: Path) -> None:
    path = write(tmp_path, "test1k.json", json.dumps(ANYTEXT))
    Image.fromarray(hide("x")).resize((256, 256)).save(tmp_path / "000053398_0.jpg")
    prompts = load_prompts(path, tmp_path)
    [(key, regions)] = prompts.regions.items()
    assert prompts.files[key].name == "000053398_0.jpg"
    assert regions.in_picture(256, 256)[0] == ((5, 10), (55, 10), (55, 30), (5, 30))
    prompts.check_regions()


@pytest.mark.parametrize(
    ("name", "text", "files"),
    [
        ("TMDBEval500.txt", MARIO, ["images_0/0_0.jpg", "images_1/0_1.jpg", "images_0/1_0.jpg"]),
        ("simple.txt", SIMPLE, ["accept/accept_0.png", "accept/accept_1.png", "acquire/acquire_0.png"]),
        ("text_prompts.jsonl", "".join(json.dumps(row) + "\n" for row in LONGTEXT),
         ["0000_1.png", "0000_2.png", "0001_1.png"]),
    ],
)  # fmt: skip
def test_pictures_are_found_under_the_benchmark_s_names_and_missing_ones_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, files: list[str]
) -> None:
    monkeypatch.setattr(eval.commands.jobs, "find_engine", lambda name: Finder())
    path, folder = write(tmp_path, name, text), tmp_path / "pictures"
    texts = [one.prompt.txt for one in read_public_prompts(path)]
    for file, txt in zip(files, (texts[0], texts[0], texts[1]), strict=True):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(hide(txt)).save((folder / file).with_suffix(".png"))
    counts = score_folder(store_path(tmp_path), folder, path, None, None, ["finder"], ScoreOptions())
    assert (counts.expected, counts.done) == (2 * len(texts), 3)
    with open_store(store_path(tmp_path)) as store:
        [(n_right,)] = store.rows("SELECT count(*) FROM text_scores WHERE em_ci")
    assert n_right == 3


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "two words\nand more of them\n"),
        ("a.txt", "\n \n"),
        ("a.json", '{"data_list": 7}'),
        ("a.json", '{"data_list": [{"img_name": 1}]}'),
        ("a.json", '{"other": 7}'),
        ("a.jsonl", '{"prompt_id": "x", "text": ["a"], "prompt": "b"}'),
    ],
)
def test_a_file_of_no_known_format_is_refused(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(InputError):
        read_public_prompts(write(tmp_path, name, text))


def test_names_cannot_leave_the_folder(tmp_path: Path) -> None:
    Image.fromarray(hide("x")).save(tmp_path / "secret_0.png")
    (tmp_path / "in").mkdir()
    Image.fromarray(hide("y")).save(tmp_path / "in" / "1_0.png")
    path = write(tmp_path, "words.txt", '"../secret"\n"fine"\n')
    files = load_prompts(path, tmp_path / "in").files
    assert all(file.resolve().is_relative_to(tmp_path / "in") for file in files.values() if file.is_file())
