"""CLIP score: does the picture show what the caption says, the text that it spells, and both together?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image
from torch import Tensor, nn

from datatools.console import Advance
from datatools.errors import InputError
from eval.networks.attention import attend_directly
from eval.networks.batches import each_batch
from eval.networks.clip_agreement import (
    CLIP_KINDS,
    ClipKind,
    Embeddings,
    agreement,
    clip_prompts,
    shuffled_floor,
)
from eval.networks.clip_weights import (
    DEFAULT_MODEL,
    LOCAL_FOLDER,
    MERGES,
    ClipWeights,
    WeightsMissing,
    clip_id,
    find_clip_weights,
    folder_of,
)

__all__ = [
    "CLIP_KINDS",
    "DEFAULT_MODEL",
    "ClipKind",
    "ClipScorer",
    "WeightsMissing",
    "agreement",
    "clip_prompts",
    "clip_scores",
    "open_clip_scorer",
    "shuffled_floor",
]

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ClipScorer:
    """A CLIP with weights, its picture preparation and its tokenizer."""

    id: str
    """Architecture, tag and hash of the weights: part of every score's identity."""
    network: nn.Module
    transform: Callable[[Image.Image], Tensor]
    tokenizer: Callable[..., Tensor]
    context_length: int

    def embed_pictures(
        self, pictures: Iterable[Picture], progress: Advance | None = None, batch_size: int | None = None
    ) -> Embeddings:
        """Unit vectors (n, d) float32 of pictures (H, W, 3) uint8, in their order."""

        def load(picture: Picture) -> Tensor:
            return self.transform(Image.fromarray(picture))

        def embed(batch: list[Tensor]) -> Embeddings:
            with torch.inference_mode():
                return _unit(self.network.encode_image(torch.stack(batch).to(self._device)))  # type: ignore[operator]

        rows: list[Embeddings] = []
        size = batch_size or self._batch_size
        for unit in each_batch(pictures, load, embed, self._device, size):
            rows.append(unit)
            if progress is not None:
                progress(len(unit))
        return np.concatenate(rows) if rows else np.empty((0, 0), np.float32)

    def embed_texts(self, texts: Sequence[str], batch_size: int | None = None) -> Embeddings:
        """Unit vectors (n, d) float32 of texts; what does not fit is cut so that the end token stays."""
        if not texts:
            return np.empty((0, 0), np.float32)
        ids = self.tokenizer(list(texts))
        # Texts of like length go together, so that few places are read in vain.
        order = torch.argsort(ids.argmax(dim=-1), stable=True)

        def embed(batch: list[Tensor]) -> Embeddings:
            with torch.inference_mode():
                return _unit(_encode_text(self.network, torch.stack(batch).to(self._device)))

        rows = each_batch(ids[order], lambda row: row, embed, self._device, batch_size or self._batch_size)
        unit: Embeddings = np.concatenate(list(rows))[torch.argsort(order).numpy()]
        return unit

    def count_truncated(self, texts: Sequence[str]) -> int:
        """How many texts have more tokens than the tower reads (77 for all common ones)."""
        # One more place tells: it holds padding, as for the empty text, unless a token had to go there.
        longer = self.tokenizer(["", *texts], context_length=self.context_length + 1)[:, -1]
        return int((longer[1:] != longer[0]).sum())

    @property
    def _batch_size(self) -> int:
        return 8 if self._device.type == "cpu" else 64

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device


def open_clip_scorer(
    name: str = DEFAULT_MODEL[0],
    pretrained: str = DEFAULT_MODEL[1],
    *,
    device: str | torch.device | None = None,
    timeout_s: float = 5.0,
) -> ClipScorer:
    """A scorer from any open_clip architecture and weights; never an untrained one.

    Args:
        name: open_clip's name of the architecture, "local-dir:FOLDER", or "tiny": the small CLIP that ships
            with this package, which knows synthetic pictures alone (recipes/scoring-clip).
        pretrained: one of its tags, or a weights file.
        device: None takes "cuda" when there is a GPU, else "cpu".
        timeout_s: without weights here, how long the hub may take to answer at all.

    Raises:
        WeightsMissing: there are no weights and no hub; says what would provide them.
        InputError: no such architecture or tag, or a file that does not fit it.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    weights = find_clip_weights(name, pretrained, timeout_s)
    network, transform = _load(name, weights)
    if torch.device(device).type == "cpu":
        attend_directly(network)
    tokenizer = _tokenizer(name)
    length = int(getattr(network, "context_length", tokenizer.context_length))
    return ClipScorer(
        clip_id(name, pretrained, weights.path), network.to(device), transform, tokenizer, length
    )


def clip_scores(
    scorer: ClipScorer, pictures: Iterable[Picture], texts: Sequence[str]
) -> npt.NDArray[np.float64]:
    """CLIP score of each picture with its text, (n,), 0..100."""
    return agreement(scorer.embed_pictures(pictures), scorer.embed_texts(texts))


def _load(name: str, weights: ClipWeights) -> tuple[nn.Module, Callable[[Image.Image], Tensor]]:
    folder = folder_of(name)
    source = {"pretrained": str(weights.path)} if folder is None else {}
    options: dict[str, Any] = source | weights.options
    named = name if folder is None else f"{LOCAL_FOLDER}{folder}"
    try:
        network, transform = open_clip.create_model_from_pretrained(named, device="cpu", **options)
    except Exception as error:  # open_clip passes on whatever its readers raise
        remedy = "Check that the file holds weights of this architecture."
        raise InputError(f"{weights.path} is no CLIP '{name}': {error}", remedy) from error
    return network.eval().requires_grad_(False), transform


def _tokenizer(name: str) -> Any:
    """open_clip's tokenizer for an architecture or folder; a folder may bring a list of merges of its own."""
    folder = folder_of(name)
    if folder is None:
        return open_clip.get_tokenizer(name)
    own = folder / MERGES
    return SimpleTokenizer(str(own)) if own.is_file() else open_clip.get_tokenizer(f"{LOCAL_FOLDER}{folder}")


def _encode_text(network: Any, ids: Tensor) -> Tensor:
    """`network.encode_text`, without the places after the last end token where nothing looks at them.

    A causal tower reads from left to right and answers at its end token, the highest id: padding after it
    changes no answer, and is four fifths of the work for a caption.
    """
    is_causal = isinstance(network, open_clip.CLIP) and network.attn_mask is not None
    if not is_causal or network.text_pool_type != "argmax" or network.text_projection is None:
        whole: Tensor = network.encode_text(ids)
        return whole
    ends = ids.argmax(dim=-1)
    length = int(ends.max()) + 1
    x = network.token_embedding(ids[:, :length]) + network.positional_embedding[:length]
    x = network.ln_final(network.transformer(x, attn_mask=network.attn_mask[:length, :length]))
    answers, projection = x[torch.arange(len(ids), device=ids.device), ends], network.text_projection
    projected: Tensor = projection(answers) if callable(projection) else answers @ projection
    return projected


def _unit(features: Tensor) -> Embeddings:
    unit: Embeddings = nn.functional.normalize(features.float(), dim=-1).cpu().numpy()
    return unit
