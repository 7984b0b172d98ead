"""What the fork's transcriptions are spelled in: its characters, or the tokens of a file of its user's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datatools.bounded_files import read_json
from datatools.console import say
from datatools.errors import InputError
from txtdiff.fork.parse import ForkFlags
from txtdiff.model.config import VOCAB_SIZES, ModelConfig

if TYPE_CHECKING:  # most lines need not wait for torch
    from torch import Tensor

__all__ = ["TOKENIZER_FILE", "Tokens", "refuse_foreign_tokens", "tokens_of"]

TOKENIZER_FILE = "tokenizer_file"
"""A Hugging Face tokenizers JSON in the working folder, which the fork reads without `char_level`."""

_FILE_LIMIT_BYTES = 100_000_000
_NEWLINE_ID = 6
_TABLE = "text_encoder.token_emb.weight"


@dataclass(frozen=True, slots=True)
class Tokens:
    """As the settings of our `TextConfig`; by default the fork's characters."""

    tokenizer: str = "char"
    vocab_size: int = VOCAB_SIZES["char"]
    newline_id: int = _NEWLINE_ID


def tokens_of(flags: ForkFlags, state_dict: Mapping[str, Tensor]) -> Tokens:
    """The tokens that a network's table has rows for.

    With `char_level` they are characters. Without, they are those of the `tokenizer_file` in the working
    folder, as in the fork. Where none lies there, a table of 105 rows is one of characters; of any other the
    network can be built all the same, but for the token that ends a line, which is a guess and said to be.

    Raises:
        InputError: a table that is none, or a `tokenizer_file` that does not go with it.
    """
    table = state_dict.get(_TABLE)
    if table is None or flags.on("char_level") or not flags.on("txt"):
        return Tokens()
    if table.ndim != 2:
        raise InputError(f"the fork's {_TABLE} must have two dimensions")
    n_tokens, path = table.shape[0], Path(TOKENIZER_FILE)
    if path.is_file():
        return Tokens(TOKENIZER_FILE, n_tokens, _newline_in(path, n_tokens))
    if n_tokens == VOCAB_SIZES["char"]:
        return Tokens()
    say(
        f"char_level is 0 and no {TOKENIZER_FILE} lies here: which of the {n_tokens} tokens ends a line is "
        f"not known and taken to be {_NEWLINE_ID}",
        warning="guessed",
    )
    return Tokens(TOKENIZER_FILE, n_tokens)


def refuse_foreign_tokens(model: ModelConfig) -> None:
    """Stop where a network is to be told texts that only the fork's `tokenizer_file` could spell."""
    if model.text is not None and model.text.tokenizer not in VOCAB_SIZES:
        raise InputError(
            "char_level is 0: this network's texts are spelled by the fork's tokenizer_file, which is read "
            "here for its newline only",
            "Build it with txtdiff.fork.network_from_fork, and give it the ids of that tokenizer.",
        )


def _newline_in(path: Path, n_tokens: int) -> int:
    vocabulary = _vocabulary(path)
    if len(vocabulary) != n_tokens:
        raise InputError(
            f"{path} has {len(vocabulary)} tokens, and the fork's weights have {n_tokens}",
            "Put the tokenizer that they were trained with into the working folder, or none.",
        )
    newline = vocabulary.get("\n")
    if not isinstance(newline, int) or not 0 <= newline < n_tokens:
        raise InputError(f"{path} has no token for the end of a line, which the fork's text encoder needs")
    return newline


def _vocabulary(path: Path) -> dict[str, Any]:
    """Token -> id, of the model and of the tokens added to it."""
    remedy = "Without char_level the fork's tokenizer is read from there; give --char_level 1 for characters."
    tree = read_json(path, "tokenizers JSON", _FILE_LIMIT_BYTES, remedy)
    try:
        known = tree["model"]["vocab"]
        # Unigram models list [token, score], numbered by their place.
        named = known if isinstance(known, dict) else {token: i for i, (token, _) in enumerate(known)}
        return {**named, **{added["content"]: added["id"] for added in tree.get("added_tokens") or ()}}
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise InputError(f"{path} is no tokenizers JSON: {type(error).__name__}", remedy) from error
