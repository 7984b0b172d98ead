"""Settings of the network: sizes, attention, and how text, captions and a smaller picture enter it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from txtdiff.model.layout import uneven_heads
from txtdiff.settings import Settings

__all__ = [
    "VOCAB_SIZES",
    "AttentionConfig",
    "CaptionConfig",
    "FeedForwardConfig",
    "ModelConfig",
    "TextAttentionConfig",
    "TextConfig",
    "TowerSize",
    "UpsamplerConfig",
    "WeaveConfig",
]

VOCAB_SIZES = {"char": 105, "clip": 49415}
"""Tokenizers of a transcription and how many tokens they know (txtdiff.data.tokenizer)."""

Mult = Annotated[float, Field(gt=0, le=256)]
"""A level's width in multiples of the first."""

Count = Annotated[int, Field(ge=1, le=256)]
"""A number of layers. Bounded: settings may be a stranger's, and a million layers take hours to refuse."""


class FeedForwardConfig(Settings):
    """A two-layer perceptron with GELU."""

    mult: PositiveInt = 4
    """Hidden width as a multiple of the input width."""

    glu: bool = False
    """Gate the hidden layer: a * GELU(gate), which doubles the first matrix (Shazeer 2020, GEGLU)."""


class AttentionConfig(Settings):
    """Self-attention among the positions of a feature map."""

    kind: Literal["self_attention", "none", "res_block"] = "self_attention"
    """What stands at its places: "none" leaves them out, "res_block" puts a residual block there. Neither
    goes with text, whose layers they leave out too."""

    resolutions_px: tuple[PositiveInt, ...] = (16, 8)
    """Feature maps, by their width, that have self-attention; the middle of the network always has it."""

    heads: PositiveInt = 4
    """Heads in the middle of the network, and elsewhere where `channels_per_head` is unset."""

    heads_up: PositiveInt | None = None
    """Heads on the way up where its `channels_per_head` is unset; unset = `heads`."""

    channels_per_head: PositiveInt | None = 64
    """Width of a head, outside the middle; unset = a fixed number of heads."""

    channels_per_head_up: PositiveInt | Literal["same"] | None = "same"
    """Width of a head on the way up; "same" as on the way down, unset = `heads_up` heads."""


class WeaveConfig(Settings):
    """The image-to-text half of weave attention: text reads the picture before the picture reads the text."""

    qkv_width: Literal["text", "image"] = "text"
    """Width of queries, keys and values: that of the text encoder or that of the feature map."""

    feed_forward: FeedForwardConfig | None = FeedForwardConfig(mult=2)
    """Perceptron on the updated text; unset = none."""

    feed_forward_gain: bool = True
    """Multiply the perceptron's output by a learned gain, of the kind `gain` says."""

    feed_forward_rezero: bool = False
    """Multiply the perceptron's output by a learned scalar that starts at zero (ReZero)."""

    feed_forward_norm: bool = True
    """Layer norm before the perceptron."""


class TextAttentionConfig(Settings):
    """How the feature maps attend to the text."""

    weave: WeaveConfig | None = WeaveConfig()
    """Weave attention; unset = plain cross-attention from picture to text."""

    resolutions_px: tuple[PositiveInt, ...] = (8, 16, 32)
    """Feature maps, by their width, that attend to the text."""

    where: Literal["up", "down_and_up"] = "up"
    """On the way up only, or on the way down too."""

    before_self_attention: bool = False
    """Attend to the text before the picture attends to itself, where both happen."""

    heads: PositiveInt = 4
    """Attention heads."""

    image_norm: Literal["modulated", "layer_norm", "group_norm"] = "modulated"
    """Norm of the picture side. "modulated": a group norm scaled and shifted by timestep and position."""

    modulated_norm: Literal["one_group", "groups_32", "groups_32_silu"] = "one_group"
    """Groups of the modulated norm. "groups_32_silu" applies SiLU to the result as well: what the parent
    project computed with its fused kernel, which is another function than its unfused one."""

    prenorm: bool = True
    """Normalise picture and text before attention. Without it, "modulated" still scales and shifts."""

    gain: Literal["exponential", "rezero", "layer_scale"] = "exponential"
    """Learned factor on the output: exp(scale * g); or scale * g, with g one number from 0 or one per
    channel from 1e-5."""

    initial_gain: float = Field(default=1.0, gt=0)
    """Factor at the start, for "exponential"."""

    gain_scale: float = Field(default=1.0, gt=0)
    """Multiplies the stored parameter, and so its effective learning rate."""

    orthogonal_init: bool = True
    """Start the four projections as orthogonal matrices."""

    image_self_attention: Literal["none", "final", "final_res", "all"] = "none"
    """Self-attention with rotary positions after the text: after the last text layer of the largest
    resolution, after all of that resolution, or after every one on the way up."""


class TextConfig(Settings):
    """The transcription: its tokens, its encoder, and the attention that reads it."""

    tokenizer: str = "char"
    """"char" for the 105 characters that are built in; "clip" for CLIP's word pieces, which say what is
    written, in lower case, but not with which letters; or the path of a Hugging Face tokenizers JSON, which
    converted networks may name and which is neither trained nor sampled here."""

    vocab_size: PositiveInt = 105
    """Number of different tokens. It follows from the tokenizer where it is left out: 49415 for "clip"."""

    newline_id: int = 6
    """Token that ends a line; tokens know their line by counting it."""

    max_length: int = Field(default=64, ge=2)
    """Longest text in tokens, the two special ones included."""

    width: PositiveInt = 128
    """Width of the text encoder; 64 channels make a head."""

    depth: Count = 2
    """Pairs of attention and feed-forward layers."""

    norm: Literal["scale_norm", "rezero"] = "scale_norm"
    """Scale norm before each layer, or none and a learned factor from zero after it (ReZero)."""

    t5_positions: bool = True
    """Learned bias by relative position, shared by all layers (T5)."""

    rotary_positions: bool = False
    """Rotary positions on queries, keys and values."""

    feed_forward: FeedForwardConfig = FeedForwardConfig()
    """Perceptron of each layer pair."""

    attention: TextAttentionConfig = TextAttentionConfig()
    """How feature maps read the encoded text."""

    names_characters: bool = False
    """One more output for training: which character stands in each position of the largest feature map. To
    name it, features must find their letter in the text, which a picture's error alone teaches slowly. Needs
    pictures whose characters have known places (`data.synth`). Names are of the 105 built-in characters,
    whatever the tokenizer."""

    @model_validator(mode="before")
    @classmethod
    def _vocabulary_of_the_tokenizer(cls, given: Any) -> Any:
        n_tokens = VOCAB_SIZES.get(str(given.get("tokenizer"))) if isinstance(given, Mapping) else None
        return given if n_tokens is None else {"vocab_size": n_tokens, **given}

    @model_validator(mode="after")
    def _whole_vocabulary(self) -> Self:
        n_tokens = VOCAB_SIZES.get(self.tokenizer, self.vocab_size)
        if self.vocab_size != n_tokens:
            raise ValueError(
                f'text.tokenizer = "{self.tokenizer}" has {n_tokens} tokens, and text.vocab_size is '
                f"{self.vocab_size}: leave it out"
            )
        return self

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        if self.width > 64 and self.width % 64:
            raise ValueError(f"text.width = {self.width} must be a multiple of 64, the width of a head")
        if self.attention.weave is not None and self.attention.image_norm != "modulated":
            raise ValueError('text.attention.weave needs text.attention.image_norm = "modulated"')
        return self


class TowerSize(Settings):
    """Sizes of a CLIP text tower."""

    width: PositiveInt = 512
    """Width of the transformer."""

    layers: Count = 12
    """Transformer blocks."""

    heads: PositiveInt = 8
    """Attention heads."""

    vocab_size: PositiveInt = 49408
    """Tokens of CLIP's byte-pair encoding."""

    context_length: PositiveInt = 77
    """Positions."""

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads cannot share a width of {self.width} evenly")
        return self


class CaptionConfig(Settings):
    """The caption: a CLIP text tower, and the ways its output joins the network."""

    tower: str = "ViT-L-14-336-quickgelu"
    """An open_clip model name, one of OpenAI's own names (ViT-L/14@336px), or "custom" with `size`."""

    size: TowerSize | None = None
    """Sizes of the tower, where they are not those of the named one."""

    activation: Literal["quick_gelu", "gelu"] | None = None
    """Activation of a "custom" tower; unset = that of the named one."""

    weights: str = "pretrained"
    """Where the tower's first weights come from: "pretrained" (open_clip), "random", or a file."""

    pretrained_tag: str = "openai"
    """Which of open_clip's weights for the tower."""

    frozen: bool = True
    """Keep the tower's weights as they are."""

    layer: Literal["final", "penultimate"] = "penultimate"
    """Which block's output is used."""

    join: tuple[Literal["pooled", "self_attention", "cross_attention"], ...] = ("self_attention",)
    """How the caption enters: added to the timestep embedding (GLIDE), as further keys of every
    self-attention (GLIDE, Imagen), or through layers of its own after the text layers."""

    pooled_hidden_layer: bool = False
    """A second layer in the projection of "pooled"."""

    pooled_initial_scale: float = 0.1
    """Factor on the initial weights of that projection."""

    weave: bool = False
    """Layers of its own get the image-to-text half as well, when the text has it."""

    @model_validator(mode="after")
    def _joins(self) -> Self:
        if not self.join:
            raise ValueError("captions.join is empty: the caption would have no effect")
        if {"self_attention", "cross_attention"} <= set(self.join):
            raise ValueError("captions.join holds self_attention and cross_attention: choose one of them")
        if self.tower == "custom" and self.size is None:
            raise ValueError('captions.tower = "custom" needs captions.size')
        return self


class UpsamplerConfig(Settings):
    """A network that enlarges a smaller picture."""

    small_size_px: PositiveInt = 64
    """Width of the smaller picture."""

    low_res_channels: Literal[1, 3] = 3
    """Channels of the smaller picture; 1 with a colour output makes a colouriser."""

    interpolation: Literal["nearest", "bilinear", "bicubic", "area"] = "bilinear"
    """How the smaller picture is enlarged before it is put beside the noisy one."""

    noise_conditioning: bool = False
    """Tell the network how much noise was put on the smaller picture (cascaded diffusion, Ho et al. 2021)."""


class ModelConfig(Settings):
    """A U-Net for diffusion: the base model, or an upsampler when `upsampler` is set."""

    image_size_px: PositiveInt = 64
    """Width and height of the pictures."""

    image_channels: Literal[1, 3] = 3
    """1 for grey pictures."""

    grey_adapter: bool = False
    """Grey pictures pass through an RGB network, by learned maps of 1 to 3 and 3 to 1 channels."""

    predicts_variance: bool = True
    """Also predict where the variance lies between its two bounds (Nichol & Dhariwal 2021, eq. 15)."""

    patch_size: PositiveInt = 1
    """Fold squares of this many pixels into channels at the entrance, unfold them at the exit. Resolutions
    of feature maps count folded pixels."""

    channels: PositiveInt = 128
    """Width of the first level, C."""

    channel_mult: Annotated[tuple[Mult, ...], Field(min_length=1, max_length=16)] = (1, 2, 3, 4)
    """Width of each level as a multiple of C; each level halves the resolution."""

    n_res_blocks: Count = 2
    """Residual blocks per level on the way down; one more on the way up."""

    resample: Literal["res_block", "conv"] = "res_block"
    """Change resolution inside a residual block, or by a convolution."""

    timestep: Literal["scale_shift", "add"] = "scale_shift"
    """How the timestep enters a residual block: scaling and shifting the second norm, or added before it."""

    norm_groups: Literal["by_width", "second_norm_32"] = "by_width"
    """Groups of the norms: 32, or 24 where the width is a multiple of 72. "second_norm_32" keeps 32 in the
    scaled and shifted norm whatever the width, as the parent project's fused kernel did."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout in residual blocks."""

    attention: AttentionConfig = AttentionConfig()
    """Self-attention."""

    text: TextConfig | None = TextConfig()
    """Conditioning on a transcription; unset = none."""

    captions: CaptionConfig | None = None
    """Conditioning on a caption; unset = none."""

    upsampler: UpsamplerConfig | None = None
    """Conditioning on a smaller picture; unset = a base model."""

    n_classes: PositiveInt | None = None
    """Conditioning on one of this many classes; unset = none."""

    recompute_resolutions_px: tuple[PositiveInt, ...] = ()
    """Feature maps, by their width, whose activations are computed again in the backward pass, which saves
    memory."""

    @property
    def map_size_px(self) -> int:
        """Width of the largest feature map."""
        return self.image_size_px // self.patch_size

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        step = self.patch_size * 2 ** (len(self.channel_mult) - 1)
        if not self.channel_mult or self.image_size_px % step:
            raise ValueError(
                f"image_size_px = {self.image_size_px} must be a multiple of {step}: "
                f"patch_size {self.patch_size} and {len(self.channel_mult)} levels"
            )
        if any(int(mult * self.channels) < 1 for mult in self.channel_mult):
            raise ValueError(f"channel_mult leaves a level no channel of {self.channels}")
        if self.grey_adapter and (self.image_channels != 1 or self.upsampler is not None):
            raise ValueError("grey_adapter needs image_channels = 1 and no upsampler")
        return self

    @model_validator(mode="after")
    def _heads_fit_the_channels(self) -> Self:
        if problems := dict.fromkeys(uneven_heads(self)):  # many stages are alike
            raise ValueError("; ".join(problems))
        return self

    @model_validator(mode="after")
    def _conditioning(self) -> Self:
        if self.captions is None:
            return self
        if "cross_attention" in self.captions.join and self.text is None:
            raise ValueError(
                "captions.join = cross_attention stands beside text layers: model.text must be set"
            )
        if self.attention.kind != "self_attention" and self.captions.join != ("pooled",):
            raise ValueError(
                f"attention.kind = {self.attention.kind} leaves no attention for captions to join"
            )
        return self
