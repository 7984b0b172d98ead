"""Text to token ids: characters for transcriptions, CLIP's byte pairs for captions.

The character vocabulary is the fork's, fixed for good: five special tokens, then the 100 characters of
`string.printable` in code point order. Ids therefore mean the same in every checkpoint, old or new.
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
_PIECES = re.compile("|".join(map(re.escape, SPECIAL_TOKENS)) + "|.", re.DOTALL)


def text_ids(text: str, max_length: int) -> list[int]:
    """Ids of one text: `<s>`, its characters, `</s>`; at most `max_length` ids, `</s>` always kept.

    A character outside the vocabulary becomes `<unk>`; the literal name of a special token its id.
    """
    # The longest token has six letters: what lies behind 8 * max_length cannot matter, and may be huge.
    pieces = _PIECES.findall(text[: 8 * max_length])
    ids = [VOCABULARY.get(piece, VOCABULARY["<unk>"]) for piece in pieces[: max_length - 2]]
    return [VOCABULARY["<s>"], *ids, VOCABULARY["</s>"]]


def encode_texts(texts: Sequence[str], max_length: int) -> Tensor:
    """Transcriptions to ids (B, L) int64, padded on the right with 0 to the longest of the batch.

    Args:
        texts: transcriptions, lines joined by a newline.
        max_length: the limit on L, the two special tokens included.
    """
    rows = [torch.tensor(text_ids(text, max_length)) for text in texts]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=_PADDING)


def decode_texts(rows: Sequence[Sequence[int]]) -> list[str]:
    """The texts of which `encode_texts` makes these ids; special tokens inside come out as their names.

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
