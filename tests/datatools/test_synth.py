"""Synthetic pictures: the same for the same seed, and the truth about them is the truth."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from string import ascii_uppercase

import numpy as np
import pytest
from PIL import Image

from datatools.errors import InputError
from datatools.ocr import open_engine
from datatools.synth import PROFILES, SynthOptions, make_picture, make_pictures
from datatools.synth.chance import generator_for
from datatools.synth.colours import COLOURS, contrast_ratio, luminance, pick_ink
from datatools.synth.fonts import faces
from datatools.synth.words import BANDS, is_held_out, words


def test_a_picture_depends_on_its_seed_and_number_alone() -> None:
    some = SynthOptions(n=3, seed=7)
    many = SynthOptions(n=1000, seed=7, write_txt=True)
    for index in (0, 2):
        assert np.array_equal(make_picture(some, index).image, make_picture(many, index).image)
    assert make_picture(some, 0).text != make_picture(SynthOptions(seed=8), 0).text


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("size_px", [64, 128])
def test_ink_lies_within_the_polygons_and_they_within_the_picture(profile: str, size_px: int) -> None:
    options = SynthOptions(profile=profile, size_px=size_px, seed=3)
    for index in range(25):
        picture = make_picture(options, index)
        assert picture.image.shape == (size_px, size_px, 3)
        assert picture.text == "\n".join(line.text for line in picture.lines)
        if picture.safebox is None:
            assert picture.text == ""
            continue
        left, top, right, bottom = picture.safebox
        assert 0 <= left < right <= size_px and 0 <= top < bottom <= size_px
        assert picture.facts["letter_px"] >= PROFILES[profile].min_letter_px


def test_the_smallest_kind_spells_every_letter_and_no_word_that_is_held_out() -> None:
    made = [make_picture(SynthOptions(profile="mini", split="train", size_px=32), i) for i in range(300)]
    texts = [picture.text for picture in made]
    assert 15 <= texts.count("") <= 50
    assert set("".join(texts)) == set(ascii_uppercase)
    assert {len(text) for text in texts} == {0, 3, 4}
    assert not any(text and is_held_out(text) for text in texts)
    assert {picture.font for picture in made} == {"Roboto-Bold", ""}
    held_out = [make_picture(SynthOptions(profile="mini", split="test-words"), i).text for i in range(30)]
    assert all(not text or is_held_out(text) for text in held_out)


def test_characters_stand_side_by_side_within_their_line() -> None:
    for index in range(20):
        for line in make_picture(SynthOptions(profile="plain", seed=5), index).lines:
            assert len(line.characters) == len(line.text)
            (left, top), _, (right, bottom), _ = line.polygon
            edges = [box[0][0] for box in line.characters] + [line.characters[-1][2][0]]
            assert edges == sorted(edges)
            assert left - 3 <= edges[0] <= left + 3 and right - 3 <= edges[-1] <= right + 3
            assert {(box[0][1], box[2][1]) for box in line.characters} == {(top, bottom)}


def test_the_default_reader_reads_what_was_written() -> None:
    options = SynthOptions(seed=11)
    pictures = [make_picture(options, index) for index in range(40)]
    readings = open_engine("rapidocr").read([picture.image for picture in pictures])
    found = expected = 0
    for picture, lines in zip(pictures, readings, strict=True):
        wanted = Counter(picture.text.lower().split())
        got = Counter(" ".join(line.text for line in lines).lower().split())
        found, expected = found + (wanted & got).total(), expected + wanted.total()
    assert found / expected >= 0.9


def test_splits_keep_words_and_families_apart() -> None:
    held_out_families = {face.family for face in faces() if face.held_out}
    for split, new_words, new_fonts in [
        ("train", False, False),
        ("test-words", True, False),
        ("test-fonts", False, True),
        ("test", True, True),
    ]:
        options = SynthOptions(split=split)  # type: ignore[arg-type]
        for index in range(20):
            picture = make_picture(options, index)
            assert picture.split == split
            assert {is_held_out(word) for word in picture.text.split()} == {new_words}
            family = next(face.family for face in faces() if face.name == picture.font)
            assert (family in held_out_families) == new_fonts


def test_word_bands_are_disjoint_plain_letters() -> None:
    bands = [set(words((band,), (1, 20), held_out)) for band in BANDS for held_out in (False, True)]
    assert all(word.isascii() and word.islower() for band in bands for word in band)
    assert sum(map(len, bands)) == len(set.union(*bands))
    held_out = sum(map(len, bands[1::2])) / sum(map(len, bands))
    assert 0.08 < held_out < 0.12


@pytest.mark.parametrize("name", COLOURS)
def test_ink_is_readable_on_every_colour(name: str) -> None:
    ground = int(luminance(np.array(COLOURS[name], np.uint8)))
    for index in range(20):
        ink = pick_ink(generator_for(0, index), (ground, ground))
        assert contrast_ratio(ground, int(luminance(np.array(COLOURS[ink], np.uint8)))) >= 4.5


def test_contrast_agrees_with_wcag() -> None:
    black, white, grey = (int(luminance(np.array([v] * 3, np.uint8))) for v in (0, 255, 0x77))
    assert contrast_ratio(black, white) == pytest.approx(21, abs=0.01)
    assert contrast_ratio(grey, white) == pytest.approx(4.48, abs=0.01)  # the well-known #777 on white


def test_a_folder_holds_pictures_captions_and_truth(tmp_path: Path) -> None:
    options = SynthOptions(n=4, size_px=64, write_txt=True)
    assert make_pictures(tmp_path, options) == 4
    truth = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text("utf-8").splitlines()]
    captions = [json.loads(line) for line in (tmp_path / "captions.jsonl").read_text("utf-8").splitlines()]
    assert (
        [row["key"] for row in truth]
        == [row["key"] for row in captions]
        == [f"000/00000{i}.png" for i in range(4)]
    )
    for index, row in enumerate(truth):
        picture = make_picture(options, index)
        assert np.array_equal(np.asarray(Image.open(tmp_path / row["key"])), picture.image)
        assert row["text"] == picture.text == (tmp_path / row["key"]).with_suffix(".txt").read_text("utf-8")
        assert row["safebox"] == list(picture.safebox or ())
        assert all(len(line["polygon"]) == 4 for line in row["lines"])


def test_workers_change_nothing(tmp_path: Path) -> None:
    options = SynthOptions(n=120, size_px=32, profile="word")
    for n_workers in (1, 2):
        make_pictures(tmp_path / str(n_workers), options, n_workers)
    one, two = (
        {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}
        for folder in (tmp_path / "1", tmp_path / "2")
    )
    assert one == two and len(one) == 122


def test_a_folder_with_other_pictures_is_refused(tmp_path: Path) -> None:
    make_pictures(tmp_path, SynthOptions(n=3, size_px=64))
    make_pictures(tmp_path, SynthOptions(n=3, size_px=64, seed=1))  # the same names: written over
    with pytest.raises(InputError, match="000002"):
        make_pictures(tmp_path, SynthOptions(n=2, size_px=64))


def test_a_folder_of_fonts_takes_the_place_of_the_own(tmp_path: Path) -> None:
    caladea = [face for face in faces() if face.family == "Caladea"]
    for face in caladea:
        (tmp_path / Path(face.path).name).write_bytes(Path(face.path).read_bytes())
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    found = faces(str(tmp_path))
    assert {(face.family, face.weight, face.italic) for face in found} == {
        (face.family, face.weight, face.italic) for face in caladea
    }
    picture = make_picture(SynthOptions(fonts_dir=str(tmp_path), split="train"), 0)
    assert picture.font.startswith("Caladea")


def test_captions_name_what_is_seen_and_never_the_text() -> None:
    for profile in ("plain", "scene"):
        for index in range(60):
            picture = make_picture(SynthOptions(profile=profile, seed=5), index)
            for caption in picture.captions:
                assert caption and "  " not in caption
                assert not picture.text or picture.text not in caption
            if picture.text:
                assert all(str(picture.facts["ink"]) in caption for caption in picture.captions)
            else:
                assert all("without" in caption for caption in picture.captions)


def test_unknown_profiles_and_empty_font_folders_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="plain"):
        SynthOptions(profile="plane")
    with pytest.raises(InputError, match="no usable font"):
        make_picture(SynthOptions(fonts_dir=str(tmp_path)), 0)
