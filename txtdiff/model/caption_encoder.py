"""The caption's encoder: a CLIP text tower from open_clip, read before its pooling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from datatools.errors import InputError, suggest
from txtdiff.model.config import CaptionConfig, TowerSize

__all__ = ["OPENAI_NAMES", "CaptionEncoder", "openclip_name", "tower_size"]

OPENAI_NAMES = {
    "RN50": "RN50",
    "RN101": "RN101",
    "RN50x4": "RN50x4",
    "RN50x16": "RN50x16",
    "RN50x64": "RN50x64",
    "ViT-B/32": "ViT-B-32",
    "ViT-B/16": "ViT-B-16",
    "ViT-L/14": "ViT-L-14",
    "ViT-L/14@336px": "ViT-L-14-336",
}
"""OpenAI's names -> open_clip's; all of them use QuickGELU, x * sigmoid(1.702 x)."""

CAPTION_LENGTH = 77
"""Ids of a caption, as `data.tokenizer` makes them."""

_UNDERSTOOD = {"width", "layers", "heads", "vocab_size", "context_length", "no_causal_mask", "embed_cls"}
"""open_clip's settings of a text side that are built here, or refused for their value."""


def openclip_name(name: str) -> str:
    """open_clip's name of a tower, from its own name or OpenAI's."""
    if "/" in name and name in OPENAI_NAMES:
        return f"{OPENAI_NAMES[name]}-quickgelu"
    return name


def tower_size(config: CaptionConfig) -> TowerSize:
    """Sizes of the tower: those given, else those of the named model.

    Raises:
        InputError: no such model, or one whose text side is not CLIP's.
    """
    if config.size is not None:
        if config.size.context_length < CAPTION_LENGTH:
            raise InputError(
                f"captions.size.context_length = {config.size.context_length}: a caption is {CAPTION_LENGTH} "
                "tokens long",
                f"Give {CAPTION_LENGTH}.",
            )
        return config.size
    text = _model_config(config.tower)["text_cfg"]
    fault = _misfit(text)
    if fault is not None:
        raise InputError(
            f"captions.tower = {config.tower}: {fault}",
            "Use one of the CLIP models, for example ViT-L-14-336-quickgelu.",
        )
    return TowerSize(
        width=text["width"],
        layers=text["layers"],
        heads=text["heads"],
        vocab_size=text.get("vocab_size", 49408),
        context_length=text.get("context_length", 77),
    )


def _misfit(text: Mapping[str, Any]) -> str | None:
    """What keeps an open_clip model's text side from reading our captions' ids; None when nothing does."""
    if "hf_model_name" in text or text.get("no_causal_mask") or text.get("embed_cls"):
        return "its text side is not CLIP's causal transformer"
    if "hf_tokenizer_name" in text:
        return f"its text side reads the tokens of {text['hf_tokenizer_name']}, and captions are CLIP's"
    length = text.get("context_length", CAPTION_LENGTH)
    if length != CAPTION_LENGTH:
        return f"its text side reads {length} tokens, and captions have {CAPTION_LENGTH}"
    unknown = sorted(text.keys() - _UNDERSTOOD)
    return f"its text side has {', '.join(unknown)}, which is not built here" if unknown else None


def _model_config(name: str) -> dict[str, Any]:
    import open_clip  # slow to import, and only networks with captions need it

    known = open_clip.list_models()
    if openclip_name(name) not in known:  # open_clip would also take folders and addresses of its hub
        remedy = suggest(openclip_name(name), known)
        raise InputError(f"captions.tower = {name} is not a model that open_clip knows", remedy)
    found: dict[str, Any] = open_clip.get_model_config(openclip_name(name))
    return found


def _uses_quick_gelu(config: CaptionConfig) -> bool:
    if config.activation is not None:
        return config.activation == "quick_gelu"
    if config.tower == "custom":
        return False
    return bool(_model_config(config.tower).get("quick_gelu", False))


class CaptionEncoder(nn.Module):
    """CLIP ids (B, 77) -> token features (B, 77, W) and the keep mask (B, 77), W the tower's width.

    Only what is used is built: with `layer = "penultimate"` the last block is left out. The features
    pass a layer norm unless layers of their own read them ("cross_attention"), which take them as they are.
    """

    def __init__(self, config: CaptionConfig) -> None:
        super().__init__()
        from open_clip.transformer import QuickGELU, TextTransformer

        size = tower_size(config)
        self.width, self.frozen, self.layer = size.width, config.frozen, config.layer
        n_blocks = size.layers - (config.layer == "penultimate")
        tower = TextTransformer(
            context_length=size.context_length,
            vocab_size=size.vocab_size,
            width=size.width,
            heads=size.heads,
            layers=n_blocks,
            act_layer=QuickGELU if _uses_quick_gelu(config) else nn.GELU,
            output_dim=0,
        )
        self.token_embedding: nn.Embedding = tower.token_embedding
        self.positional_embedding: nn.Parameter = tower.positional_embedding
        self.transformer: nn.Module = tower.transformer
        self.register_buffer("causal_mask", tower.attn_mask, persistent=False)
        self.norm = nn.Identity() if "cross_attention" in config.join else nn.LayerNorm(size.width)
        self._freeze()

    def _freeze(self) -> None:
        if not self.frozen:
            return
        self.token_embedding.requires_grad_(False)
        self.positional_embedding.requires_grad_(False)
        self.transformer.requires_grad_(False)
        # After the last block it is CLIP's own, and frozen with it; after the last but one it is the
        # network's, which learns it (fork_spec 6).
        self.norm.requires_grad_(self.layer != "final")

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            x = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
            x = self.transformer(x, attn_mask=self.causal_mask)
        return self.norm(x), ids != 0
