"""Transcriptions as CLIP's word pieces: their ids, and a network that reads them, by command."""

from __future__ import annotations

import string
import sys
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image
from tiny import TINY

from datatools.errors import InputError
from txtdiff.cli import main
from txtdiff.config_files import make_config, settings_layer
from txtdiff.data.tokenizer import DROP_TEXT, NEWLINE_ID, VOCABULARY, encode_texts, text_ids
from txtdiff.model.config import VOCAB_SIZES, TextConfig
from txtdiff.training.weights import load_network

CLIP = SimpleTokenizer()
FIRST = 7


def test_every_id_has_its_row() -> None:
    assert {"char": len(VOCABULARY), "clip": FIRST + CLIP.vocab_size} == VOCAB_SIZES
    assert TextConfig(tokenizer="clip").vocab_size == VOCAB_SIZES["clip"]
    assert TextConfig() == TextConfig(tokenizer="char") == TextConfig(tokenizer="char", vocab_size=105)


def test_pieces_stand_between_marks_of_our_own() -> None:
    a, cafe = (FIRST + CLIP.encoder[f"{word}</w>"] for word in ("a", "cafe"))
    assert text_ids("A CAFE\na", 16, "clip") == [0, a, cafe, NEWLINE_ID, a, 1]
    assert text_ids("a\n\n", 16, "clip") == [0, a, NEWLINE_ID, NEWLINE_ID, 1]
    assert text_ids(DROP_TEXT, 16, "clip") == text_ids(DROP_TEXT, 16) != text_ids("", 16, "clip") == [0, 1]
    assert text_ids("a " * 10**6, 5, "clip") == [0, a, a, a, 1]
    assert encode_texts(["a", "a cafe"], 16, "clip").tolist() == [[0, a, 1, 0], [0, a, cafe, 1]]


@given(st.text(string.ascii_letters + string.digits + " \n.!?<>é字", max_size=60))
@settings(max_examples=50, deadline=None)
def test_pieces_read_back_as_the_words_in_lower_case(text: str) -> None:
    lines: list[list[int]] = [[]]
    for i in text_ids(text, 1000, "clip")[1:-1]:
        assert NEWLINE_ID <= i < VOCAB_SIZES["clip"]
        lines = [*lines, []] if i == NEWLINE_ID else [*lines[:-1], [*lines[-1], i - FIRST]]
    said = ["".join(CLIP.decode(line).split()) for line in lines]
    assert said == ["".join(line.lower().split()) for line in text.split("\n")]


def test_a_network_reads_them_from_training_to_pictures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*args: str) -> None:
        monkeypatch.setattr(sys, "argv", ["txtdiff", *args])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code

    monkeypatch.chdir(tmp_path)
    data = {"batch_size": 4, "workers": 0, "drop_txt": 0.2}
    Path("tiny.toml").write_text(tomli_w.dumps({**TINY, "data": data, "averaging": {"rates": [0.9]}}))
    pieces = ("--set", "model.text.tokenizer=clip", "--set", "model.text.names_characters=true")
    train = ("train", "tiny.toml", "--synth", "word", "--set", "data.synth.drawn_px=64", *pieces)
    run(*train, "--images", "8", "--out", "base")
    capsys.readouterr()
    run(*train, "--images", "12", "--out", "base")
    assert "going on from base/step-8" in "".join(capsys.readouterr())

    network, _ = load_network(Path("base"))
    assert network.text_encoder is not None and network.character_head is not None
    assert len(network.text_encoder.token_embedding.weight) == VOCAB_SIZES["clip"]
    assert len(network.character_head.weight) == len(VOCABULARY)

    asked = ("--txt", r"Coffee\nopen", "--n", "1", "--sampler", "ddim:2", "--guidance", "2")
    run("sample", "--base", "base", *asked, "--out", "pictures")
    assert Image.open("pictures/00000.png").size == (16, 16)
    capsys.readouterr()
    run("info", "base")
    assert "text (up to 10 word pieces)" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["model.text.tokenizer=clip", "model.text.vocab_size=105"], '"clip" has 49415 tokens'),
        (["model.text.vocab_size=49415"], '"char" has 105 tokens'),
        (["model.text.tokenizer=bpe.json"], 'knows "char" and "clip" only'),
        (["model.text.tokenizer=[1]"], "valid string"),
    ],
)
def test_what_does_not_go_together(changes: list[str], message: str) -> None:
    with pytest.raises(InputError) as refused:
        make_config(settings_layer(changes))
    assert refused.value.what.count("\n") == 0 and message in refused.value.what
