"""The layers of one stage, made from its plan."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from txtdiff.model.attention import SelfAttention
from txtdiff.model.blocks import BlockOptions, Downsample, ResBlock, Upsample
from txtdiff.model.config import ModelConfig
from txtdiff.model.context import Context
from txtdiff.model.layout import Slot, Stage, Way, attention_heads
from txtdiff.model.text_attention import TextLayer

__all__ = ["StageBuilder", "StageLayers"]


class StageLayers(nn.ModuleDict):
    """The layers of a stage, one after the other, under the names of their slots.

    Args:
        layers: by slot, in order.
        recompute: compute activations again in the backward pass rather than keep them.
    """

    def __init__(self, layers: dict[str, nn.Module], recompute: bool) -> None:
        super().__init__(layers)
        self.recompute = recompute

    def forward(self, x: Tensor, context: Context, skip: Tensor | None = None) -> Tensor:
        """Feature map (B, in, H, W), on the way up in two parts, -> (B, out, H', W')."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(self._run, x, context, skip, use_reentrant=False)
        return self._run(x, context, skip)

    def _run(self, x: Tensor, context: Context, skip: Tensor | None) -> Tensor:
        first, *others = self.values()
        x = first(x, context) if skip is None else first(x, context, skip)  # on the way up a ResBlock
        for layer in others:
            x = layer(x, context)
        return x


class StageBuilder:
    """Builds stages of the network that `config` describes.

    Args:
        config: settings.
        caption_width: width of the caption tower, or None.
    """

    def __init__(self, config: ModelConfig, caption_width: int | None) -> None:
        self.config, self.caption_width = config, caption_width
        self.options = BlockOptions(4 * config.channels, config.timestep, config.norm_groups, config.dropout)

    def build(self, stage: Stage, way: Way) -> StageLayers:
        """The layers of `stage`."""
        layers: dict[str, nn.Module] = {}
        for slot in stage.slots:
            layer = self._layer(slot, stage, way)
            if layer is not None:
                layers[slot] = layer
        return StageLayers(layers, recompute=stage.resolution_px in self.config.recompute_resolutions_px)

    def _layer(self, slot: Slot, stage: Stage, way: Way) -> nn.Module | None:
        width = stage.out_channels
        if slot == "res":
            return ResBlock(stage.in_channels, width, self.options)
        if slot == "res_out":
            return ResBlock(width, width, self.options)
        if slot == "attention":
            return self._attention(width, way)
        if slot == "text" or slot == "captions":
            return self._text_layer(slot, stage)
        if self.config.resample == "res_block":
            return ResBlock(width, width, self.options, resample=slot)
        return Downsample(width) if slot == "down" else Upsample(width)

    def _attention(self, width: int, way: Way) -> nn.Module | None:
        kind = self.config.attention.kind
        if kind == "none":
            return None
        if kind == "res_block":
            return ResBlock(width, width, self.options)
        captions = self.config.captions
        joins = captions is not None and "self_attention" in captions.join
        heads = attention_heads(self.config, width, way)
        return SelfAttention(width, heads, self.caption_width if joins else None)

    def _text_layer(self, slot: Literal["text", "captions"], stage: Stage) -> nn.Module | None:
        text = self.config.text
        if text is None or self.config.attention.kind != "self_attention":
            return None
        weave, source_width = text.attention.weave, text.width
        if slot == "captions":
            assert self.config.captions is not None and self.caption_width is not None
            source_width = self.caption_width
            # Caption layers always normalise before the perceptron: nothing else has normalised the caption.
            weave = weave and weave.model_copy(update={"feed_forward_norm": True})
            weave = weave if self.config.captions.weave else None
        return TextLayer(
            channels=stage.out_channels,
            resolution_px=stage.resolution_px,
            source=slot,
            source_width=source_width,
            embedding=self.options.embedding,
            config=text.attention,
            weave=weave,
            self_attention=stage.text_self_attention,
        )
