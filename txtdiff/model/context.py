"""What the layers of a network are told besides the feature map."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["CaptionFeatures", "Context", "with_rows"]

KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class CaptionFeatures:
    """A caption, encoded. Nothing here depends on the timestep: compute it once per picture.

    Attributes:
        bias: (B, 1, 1, 77) added to attention logits, hugely negative on padding.
        tokens: (B, 77, W) output of the tower, for layers that change it.
        keys_values: for each layer that only reads the caption, keys and values (B, heads, 77, c).
        pooled: (B, E) to be added to the timestep embedding, or None.
    """

    bias: Tensor
    tokens: Tensor
    keys_values: tuple[KeysValues, ...]
    pooled: Tensor | None

    def __len__(self) -> int:
        return len(self.tokens)

    def select(self, index: Tensor) -> CaptionFeatures:
        """The captions at `index` (N,), in that order; repeats are fine."""
        return CaptionFeatures(
            bias=self.bias[index],
            tokens=self.tokens[index],
            keys_values=tuple((k[index], v[index]) for k, v in self.keys_values),
            pooled=None if self.pooled is None else self.pooled[index],
        )

    @staticmethod
    def concat(parts: list[CaptionFeatures]) -> CaptionFeatures:
        """Several batches as one."""
        pooled = [part.pooled for part in parts if part.pooled is not None]
        layers = zip(*(part.keys_values for part in parts), strict=True)
        return replace(
            parts[0],
            bias=torch.cat([part.bias for part in parts]),
            tokens=torch.cat([part.tokens for part in parts]),
            keys_values=tuple(
                (torch.cat([k for k, _ in layer]), torch.cat([v for _, v in layer])) for layer in layers
            ),
            pooled=torch.cat(pooled) if pooled else None,
        )


@dataclass(frozen=True, slots=True)
class Context:
    """Conditioning of one call of the network: rows R, which may be N times its pictures.

    Attributes:
        embedding: (R, E) timestep, noise level, class and pooled caption, after SiLU.
        text: (R, L, D) encoded transcription, or None.
        text_bias: (R, 1, 1, L) added to attention logits, hugely negative on padding.
        captions: the encoded caption, or None.
        positions: by resolution, the map (1, W, H, W) that text layers of that resolution share.
        reaches_embedding: whether `embedding` depends on more than timestep and noise level, so that the
            rows of one picture differ in it.
    """

    embedding: Tensor
    text: Tensor | None
    text_bias: Tensor | None
    captions: CaptionFeatures | None
    positions: dict[int, Tensor]
    reaches_embedding: bool

    @property
    def n_rows(self) -> int:
        return len(self.embedding)


def with_rows(x: Tensor, n: int) -> Tensor:
    """x (B, …) as often as makes n rows, one whole batch after the other."""
    if len(x) == n:
        return x
    return x.repeat(n // len(x), *[1] * (x.ndim - 1))
