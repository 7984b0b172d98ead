"""What pictures are compared with, and the agreement of vectors: numpy alone, no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

__all__ = ["CLIP_KINDS", "ClipKind", "Embeddings", "agreement", "clip_prompts", "shuffled_floor"]

ClipKind = Literal["clip_desc", "clip_text", "clip_full"]
CLIP_KINDS: tuple[ClipKind, ...] = get_args(ClipKind)

Embeddings = npt.NDArray[np.float32]


def agreement(pictures: Embeddings, texts: Embeddings) -> npt.NDArray[np.float64]:
    """100 max(0, cos) of paired unit vectors (n, d): no prefix, no factor 2.5 (Hessel et al. 2021, eq. 1)."""
    cosine = np.einsum("nd,nd->n", pictures.astype(np.float64), texts.astype(np.float64))
    score: npt.NDArray[np.float64] = 100 * np.maximum(0, cosine)
    return score


def shuffled_floor(pictures: Embeddings, texts: Embeddings, captions: Sequence[str]) -> float | None:
    """The mean score of pictures with captions that are not theirs: what agreement by chance looks like.

    Over all pairs with another caption, so no shuffle has to be drawn. None when all captions are the same.
    """
    others = np.array(captions)[:, None] != np.array(captions)[None, :]
    if not others.any():
        return None
    return float((100 * np.maximum(0, pictures @ texts.T))[others].mean())


def clip_prompts(txt: str, capt: str | None, prompt: str | None = None) -> Mapping[ClipKind, str | None]:
    """What a picture is compared with: its description, its text, and both (None: there is no such thing).

    Args:
        txt: the text to be written, lines separated by newlines; "" for none.
        capt: the description, or None.
        prompt: the whole prompt when the model was given one; else it is put together.
    """
    written = f'the text "{" ".join(txt.split())}"' if txt.strip() else None
    parts = [part for part in (capt, written) if part]
    return {"clip_desc": capt or None, "clip_text": written, "clip_full": prompt or ", ".join(parts) or None}
