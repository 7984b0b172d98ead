"""Token ids are the fork's (fork_spec 4.1): the same text gives the same ids as in old checkpoints."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from txtdiff.data.tokenizer import (
    DROP_TEXT,
    NEWLINE_ID,
    NULL_CAPTION,
    VOCABULARY,
    encode_captions,
    encode_texts,
    text_ids,
)


def test_vocabulary_is_the_forks() -> None:
    assert len(VOCABULARY) == 105
    assert [VOCABULARY[c] for c in "\t\n\v\f\r !a~"] == [5, 6, 7, 8, 9, 10, 11, 75, 104]
    assert NEWLINE_ID == 6


def test_examples_of_the_fork() -> None:
    assert text_ids("hi", 64) == [0, 82, 83, 1]
    assert text_ids("", 64) == [0, 1]
    assert text_ids(DROP_TEXT, 64) == [0, 4, 4, 4, 4, 1]
    assert text_ids("é<unk>", 64) == [0, 2, 2, 1]
    assert text_ids("</mask>", 64)[1:3] == [VOCABULARY["<"], VOCABULARY["/"]]


def test_a_batch_is_padded_with_zero_to_its_longest() -> None:
    ids = encode_texts(["hi", "", "abc"], 64)
    assert ids.dtype == torch.int64
    assert ids.tolist() == [[0, 82, 83, 1, 0], [0, 1, 0, 0, 0], [0, 75, 76, 77, 1]]


@given(st.text(max_size=200), st.integers(2, 40))
def test_length_and_ends(text: str, max_length: int) -> None:
    ids = text_ids(text, max_length)
    assert len(ids) <= max_length
    assert ids[0] == 0 and ids[-1] == 1
    assert all(0 <= i < len(VOCABULARY) for i in ids)


@given(st.text(max_size=100), st.integers(2, 30))
def test_a_limit_only_cuts(text: str, max_length: int) -> None:
    whole = text_ids(text, 1000)
    assert text_ids(text, max_length)[:-1] == whole[: max_length - 1][: len(whole) - 1]


def test_captions_are_clip_ids() -> None:
    ids = encode_captions([NULL_CAPTION, "Hello &amp;  World", "hello world " * 60])
    assert ids.shape == (3, 77) and ids.dtype == torch.int64
    assert ids[1, :6].tolist() == [49406, 3306, 261, 1002, 49407, 0]  # as openai/CLIP's tokenizer
    assert ids[0, 2] == 49407  # one word, as the null caption must be cheap to recognise
    assert ids[2, -1] == 49407
