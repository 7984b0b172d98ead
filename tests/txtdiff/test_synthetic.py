"""Pictures made while training, and the naming of their characters."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import TINY

from datatools.errors import InputError
from datatools.synth import SynthOptions, make_picture
from txtdiff.config import RunConfig
from txtdiff.config_files import make_config, settings_layer
from txtdiff.data.batch import collate, conditions_of
from txtdiff.data.crop import Box
from txtdiff.data.pictures import open_pictures, rows_for
from txtdiff.data.synthetic import character_map
from txtdiff.data.tokenizer import DROP_TEXT, VOCABULARY
from txtdiff.diffusion.naming import UNKNOWN, naming_error
from txtdiff.model.unet import build_network
from txtdiff.training.checkpoint import find_checkpoint
from txtdiff.training.contents import read_facts
from txtdiff.training.trainer import train
from txtdiff.training.weights import load_network

SYNTH = ["data.synth.profile=word", "data.synth.drawn_px=64", "model.text.names_characters=true"]
PLAIN = {**TINY, "data": {"batch_size": 4, "workers": 0, "drop_txt": 0.3}}


def configured(*changes: str) -> RunConfig:
    return make_config(PLAIN, settings_layer([*SYNTH, *changes]))


@pytest.mark.parametrize("square", [Box(0, 0, 64, 64), Box(2, 3, 60, 61), Box(6, 0, 64, 58)])
def test_cells_bear_the_letters_whose_ink_lies_there(square: Box) -> None:
    for index in range(30):
        picture = make_picture(SynthOptions(size_px=64, profile="mini", seed=1), index)
        cells = character_map(picture, square, 29)
        assert {VOCABULARY[letter] for letter in picture.text} == set(np.unique(cells)) - {0}
        if not picture.text:
            continue
        # A letter's ink differs from the ground (that of the corner) and lies in cells that bear its name.
        part = Image.fromarray(picture.image).crop((square.left, square.top, square.right, square.bottom))
        pixels = np.asarray(part.resize((58, 58)), int)
        ink = np.abs(pixels - picture.image[0, 0]).max(2) > 100
        named = np.kron(cells > 0, np.ones((2, 2), bool))
        assert (ink & named).sum() >= 0.9 * ink.sum() > 0
        columns = [np.flatnonzero((cells == VOCABULARY[letter]).any(0)).mean() for letter in picture.text]
        if len(set(picture.text)) == len(picture.text):
            assert columns == sorted(columns)


def test_crops_take_the_map_with_them() -> None:
    """What is ink in a cropped sample bears a name in its map, and crops keep every letter."""
    config = configured("data.synth.profile=mini", "data.crop.probability=1", "data.crop.min_area=0.5")
    whole = open_pictures(None, configured("data.synth.profile=mini").data, config.model, 3)
    cropped = open_pictures(None, config.data, config.model, 3)
    n_moved = 0
    for position in range(20):
        one, other = cropped[position], whole[position]
        assert one.txt == other.txt
        if one.characters is None or not one.txt:
            continue
        assert set(np.unique(one.characters)) == set(np.unique(other.characters))
        n_moved += not np.array_equal(one.characters, other.characters)
        ink = np.abs(one.pixels.astype(int) - one.pixels[0, 0]).max(2) > 120
        assert (ink & (one.characters > 0)).sum() >= 0.9 * ink.sum()
    assert n_moved > 5


def test_a_sample_depends_on_seed_and_position_alone() -> None:
    config = configured()
    assert rows_for(config.data, config.model) is None
    once, again = (open_pictures(None, config.data, config.model, 3) for _ in range(2))
    for position in (5, 0, 70_000):
        assert np.array_equal(once[position].pixels, again[position].pixels)
        assert once[position].txt == again[position].txt
    other = open_pictures(None, configured("data.synth.seed=1").data, config.model, 3)
    assert not np.array_equal(once[0].pixels, other[0].pixels)
    picture = make_picture(SynthOptions(size_px=64, profile="word", split="train"), 9)
    shrunk = Image.fromarray(picture.image).resize((16, 16), Image.Resampling.BOX)
    assert np.abs(np.asarray(shrunk, int) - once[9].pixels).mean() < 3


def test_a_curriculum_changes_the_kind_of_picture_where_it_says() -> None:
    config = configured("data.synth.later=digits@10,blank@1k")
    once, digits = (
        open_pictures(None, c.data, config.model, 3)
        for c in (config, configured("data.synth.profile=digits"))
    )
    texts = [once[position].txt for position in (*range(40), *range(1000, 1040))]
    letters = [any(c.isalpha() for c in text.replace(DROP_TEXT, "")) for text in texts]
    assert any(letters[:10])
    assert not any(letters[10:])
    assert any(texts[i][:1].isdigit() for i in range(10, 40))
    assert set(texts[40:]) <= {"", DROP_TEXT}
    assert np.array_equal(once[10].pixels, digits[10].pixels)  # a picture knows nothing of those before it


def test_where_the_text_is_withheld_no_character_is_asked_for() -> None:
    config = configured()
    pictures = open_pictures(None, config.data, config.model, 0)
    batch = collate([pictures[i] for i in range(40)], conditions_of(config.model))
    assert batch.characters is not None
    assert batch.characters.shape == (40, 16, 16)
    withheld = torch.tensor([text == DROP_TEXT for text in batch.texts])
    assert 0 < withheld.sum() < 40
    assert (batch.characters[withheld] == UNKNOWN).all()
    assert (batch.characters[~withheld] >= 0).all()
    logits = torch.zeros(40, 105, 16, 16)
    error = naming_error(logits, batch.characters)
    assert (error[withheld] == 0).all()
    assert error[~withheld].allclose(torch.tensor(105.0).log())


def test_naming_teaches_the_text_encoder_and_changes_no_prediction() -> None:
    config = configured()
    torch.manual_seed(0)
    network = build_network(config.model)
    txt, x, t = torch.tensor([[0, 70, 71, 1]]), torch.randn(1, 3, 16, 16), torch.tensor([5])
    prediction, logits = network(x, t, txt=txt, name_characters=True)
    assert logits.shape == (1, 105, 16, 16)
    assert torch.equal(prediction, network(x, t, txt=txt))
    naming_error(logits, torch.full((1, 16, 16), 70)).sum().backward()
    assert network.text_encoder is not None
    for weight in (network.stem.weight, network.text_encoder.token_embedding.weight):
        assert weight.grad is not None and weight.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="names no characters"):
        build_network(configured("model.text.names_characters=false").model)(
            x, t, txt=txt, name_characters=True
        )


def test_training_learns_names_and_goes_on_bit_for_bit(tmp_path: Path) -> None:
    config = configured("run.images=96", "run.log_every_images=48")
    train(config, tmp_path / "whole")
    calls = 0

    def after_five() -> bool:
        nonlocal calls
        calls += 1
        return calls == 5

    train(config, tmp_path / "parts", after_five)
    train(config, tmp_path / "parts")
    lines = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parts")]
    assert lines[0] == lines[1]
    first, last = map(json.loads, lines[0].splitlines())
    assert last["characters"] < first["characters"]
    network, _ = load_network(tmp_path / "whole")
    assert network.character_head is not None
    assert len(read_facts(find_checkpoint(tmp_path / "whole"))["totals"]) == 18


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.folder=x", "data.folder and data.synth are given"),
        ("data.synth.profile=wrod", "there is no profile 'wrod'"),
        ("data.synth.later=mini-lnog@10", "there is no profile 'mini-lnog'"),
        ("data.synth.later=mini", "write mini@100k"),
        ("data.synth.later=mini@many", "later: "),
        ("data.synth.later=mini@20,mini-long@10", "do not begin one after the other"),
        ("data.synth.drawn_px=none", "at least 32 px"),
        ("data.where=n_chars > 2", "data.synth makes pictures that need none of it"),
        ("data.no_text.crop=borrowed_safebox", "lends no safebox"),
        ("model.n_classes=3", "no classes"),
    ],
)
def test_what_does_not_go_together(change: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        configured(change)
    assert message in str(refused.value)


def test_names_need_known_places(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        make_config(PLAIN, settings_layer([f"data.folder={tmp_path}", "model.text.names_characters=true"]))
    assert "knows the places of characters" in str(refused.value)
