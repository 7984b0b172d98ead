"""Text to token ids: characters or word pieces for transcriptions, CLIP's byte pairs for captions.

The character vocabulary is the fork's, fixed for good: five special tokens, then the 100 characters of
`string.printable` in code point order. Ids therefore mean the same in every checkpoint, old or new.

Word pieces ("clip") are there to be compared with characters. They have the special tokens and the newline of
the character vocabulary, ids 0 to 4 and 6, and from 7 on the byte pairs by which CLIP reads captions.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from datatools.errors import InputError
from txtdiff.model.config import VOCAB_SIZES

__all__ = [
    "CAPTION_LENGTH",
    "DROP_TEXT",
    "NEWLINE_ID",
    "NULL_CAPTION",
    "VOCABULARY",
    "decode_texts",
    "encode_captions",
    "encode_texts",
    "text_ids",
]

SPECIAL_TOKENS = ("<s>", "</s>", "<unk>", "<pad>", "<mask>")

VOCABULARY: dict[str, int] = {
    token: i for i, token in enumerate([*SPECIAL_TOKENS, *sorted(string.printable)])
}
"""Token -> id, 105 entries."""

NEWLINE_ID = VOCABULARY["\n"]

DROP_TEXT = "<mask><mask><mask><mask>"
"""Stands for "text not given" (guidance). Not the empty text, which says that there is no text."""

NULL_CAPTION = "unknown"
"""Stands for "caption not given", and for pictures that have none."""

CAPTION_LENGTH = 77
"""CLIP's context length."""

# Padding is id 0, which is also `<s>`: the fork trained with both masked as keys, so the two must stay one.
_PADDING = VOCABULARY["<s>"]
_SPECIAL = "|".join(map(re.escape, SPECIAL_TOKENS))
_CHARACTERS = re.compile(f"{_SPECIAL}|.", re.DOTALL)
_MARKS = re.compile(f"({_SPECIAL}|\n)")
_FIRST_PIECE = NEWLINE_ID + 1


def text_ids(text: str, max_length: int, tokenizer: str = "char") -> list[int]:
    """Ids of one text: `<s>`, its tokens, `</s>`; at most `max_length` ids, `</s>` always kept.

    The literal name of a special token becomes its id. A character outside the vocabulary becomes `<unk>`.
    "clip" spells any character in bytes, and cleans a line as CLIP does a caption: lower case, one blank for
    many, HTML entities resolved. It reads the first 16 * `max_length` letters at most.

    Raises:
        InputError: a tokenizer of a converted network, which is not read here.
    """
    if tokenizer not in VOCAB_SIZES:
        raise InputError(
            f"text.tokenizer = {tokenizer}: only {' and '.join(map(repr, VOCAB_SIZES))} are known"
        )
    ids = _character_ids(text, max_length) if tokenizer == "char" else _piece_ids(text, max_length)
    return [VOCABULARY["<s>"], *ids[: max_length - 2], VOCABULARY["</s>"]]


def _character_ids(text: str, max_length: int) -> list[int]:
    # The longest token has six letters: what lies behind 8 * max_length cannot matter, and may be huge.
    found = _CHARACTERS.findall(text[: 8 * max_length])
    return [VOCABULARY.get(token, VOCABULARY["<unk>"]) for token in found]


def _piece_ids(text: str, max_length: int) -> list[int]:
    ids = []
    # The limit is for strangers' texts: joining the letters of a word takes the square of their number.
    for i, part in enumerate(_MARKS.split(text[: 16 * max_length])):
        if i % 2:
            ids.append(VOCABULARY[part])
        elif part:
            ids += [_FIRST_PIECE + piece for piece in _clip_tokenizer().encode(part)]
    return ids


def encode_texts(texts: Sequence[str], max_length: int, tokenizer: str = "char") -> Tensor:
    """Transcriptions to ids (B, L) int64, padded on the right with 0 to the longest of the batch.

    Args:
        texts: transcriptions, lines joined by a newline.
        max_length: the limit on L, the two special tokens included.
        tokenizer: "char" or "clip", see `text_ids`.

    Raises:
        InputError: another tokenizer.
    """
    rows = [torch.tensor(text_ids(text, max_length, tokenizer)) for text in texts]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=_PADDING)


def decode_texts(rows: Sequence[Sequence[int]]) -> list[str]:
    """The texts of which "char" makes these ids; special tokens inside come out as their names.

    Raises:
        InputError: an id outside the vocabulary.
    """
    tokens = list(VOCABULARY)
    texts = []
    for row in rows:
        ids = list(row)[: row.index(VOCABULARY["</s>"]) if VOCABULARY["</s>"] in row else None]
        if not all(0 <= i < len(tokens) for i in ids):
            raise InputError(f"a token id lies outside 0 to {len(tokens) - 1}: no text of characters")
        texts.append("".join(tokens[i] for i in ids if i != _PADDING))
    return texts


def encode_captions(captions: Sequence[str]) -> Tensor:
    """Captions to CLIP ids (B, 77) int64, zero-padded; a longer caption is cut and still ends in EOT."""
    ids: Tensor = _clip_tokenizer()(list(captions))
    return ids


@cache
def _clip_tokenizer() -> Any:
    # Imported here: open_clip takes seconds to import and runs without captions never need it.
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer(context_length=CAPTION_LENGTH)
