"""The network: a U-Net that predicts noise, told timestep, text, caption, smaller picture and class."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from txtdiff.model.attention import CaptionReader, SelfAttention, group_norm, key_bias
from txtdiff.model.blocks import zeroed
from txtdiff.model.builder import StageBuilder
from txtdiff.model.caption_encoder import CaptionEncoder
from txtdiff.model.config import VOCAB_SIZES, CaptionConfig, ModelConfig
from txtdiff.model.context import CaptionFeatures, Context, with_rows
from txtdiff.model.embeddings import AxialPositions, sinusoid, timestep_mlp
from txtdiff.model.layout import plan_network
from txtdiff.model.text_attention import TextLayer
from txtdiff.model.text_encoder import TextEncoder

__all__ = ["UNet", "build_network"]


def build_network(config: ModelConfig) -> UNet:
    """The network of `config` with random weights, initialised as the parent project's.

    The caption tower is random too, whatever `captions.weights` says: see `load_caption_tower`.
    """
    return UNet(config)


class UNet(nn.Module):
    """See `ModelConfig` for what can be set and `plan_network` for the order of layers.

    Attributes:
        config: the settings it was built from.
        plan: its stages.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config, self.plan = config, plan_network(config)
        embedding = 4 * config.channels
        self.text_encoder = None if config.text is None else TextEncoder(config.text)
        self.caption_encoder = None if config.captions is None else CaptionEncoder(config.captions)
        caption_width = None if self.caption_encoder is None else self.caption_encoder.width
        self.pooled_caption = _pooled_projection(config.captions, caption_width, embedding)
        self.positions = self._make_positions()

        self.time_embedding = timestep_mlp(config.channels, embedding)
        has_noise = config.upsampler is not None and config.upsampler.noise_conditioning
        self.noise_embedding = timestep_mlp(config.channels, embedding) if has_noise else None
        self.class_embedding = _class_embedding(config.n_classes, embedding)

        n_in, n_out = _channels_in(config), _channels_out(config)
        builder = StageBuilder(config, caption_width)
        self.stem = nn.Conv2d(n_in, config.channels, 3, padding=1)
        self.down = nn.ModuleList(builder.build(stage, "down") for stage in self.plan.down)
        self.middle = builder.build(self.plan.middle, "middle")
        self.up = nn.ModuleList(builder.build(stage, "up") for stage in self.plan.up)
        width = self.plan.up[-1].out_channels
        self.head_norm = group_norm(width)
        self.head = zeroed(nn.Conv2d(width, n_out, 3, padding=1))
        names = config.text is not None and config.text.names_characters
        self.character_head = nn.Conv2d(width, VOCAB_SIZES["char"], 1) if names else None
        self.grey_adapter = GreyAdapter(config.predicts_variance) if config.grey_adapter else None
        self._caption_readers = self._number_caption_readers()

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        *,
        txt: Tensor | None = None,
        capt: Tensor | CaptionFeatures | None = None,
        low_res: Tensor | None = None,
        cond_timesteps: Tensor | None = None,
        y: Tensor | None = None,
        name_characters: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Predict the noise in `x`, and where the variance lies if the network learns it.

        txt, capt and y may hold N times as many rows as there are pictures, all of them once for each of N
        conditionings, as guidance wants it. What no conditioning has reached yet is then computed once.

        Args:
            x: (B, C, H, W) noisy pictures.
            timesteps: (B,) integer or fractional.
            txt: (N * B, L) int64 token ids, 0 = padding. Needed by a network with text, ignored without.
            capt: (N * B, 77) CLIP ids, or `encode_captions` of them. None = no caption at all, which is not
                the null caption. Ignored by a network without captions.
            low_res: (B, c, h, w) in [-1, 1]; for upsamplers, and needed by them.
            cond_timesteps: (B,) noise level of `low_res`; for networks with noise conditioning.
            y: (N * B,) classes; for networks with classes.
            name_characters: also return which character stands where, for training.

        Returns:
            (N * B, C, H, W), or (N * B, 2C, H, W) with the prediction first and the variance after it. With
            `name_characters` also the logits of the built-in characters, (N * B, 105, M, M).
        """
        self._check_given(txt=txt, low_res=low_res, cond_timesteps=cond_timesteps, y=y)
        captions = self.encode_captions(capt) if isinstance(capt, Tensor) else capt
        context = self._context(timesteps, txt, captions, cond_timesteps, y)
        h = self.stem(self._fold(x, low_res))
        if context.reaches_embedding:
            h = with_rows(h, context.n_rows)
        skips = [h]
        for stage in self.down:
            h = stage(h, context)
            skips.append(h)
        h = self.middle(h, context)
        for stage in self.up:
            h = stage(h, context, skips.pop())
        h = with_rows(h, context.n_rows)
        prediction = self._unfold(self.head(F.silu(self.head_norm(h))))
        if not name_characters:
            return prediction
        if self.character_head is None:
            raise ValueError("this network names no characters")
        return prediction, self.character_head(h)

    def encode_captions(self, capt_ids: Tensor) -> CaptionFeatures | None:
        """CLIP ids (B, 77) -> all that the network needs of the captions, the same for every timestep.

        None for a network without captions.
        """
        if self.caption_encoder is None:
            return None
        tokens, keep = self.caption_encoder(capt_ids)
        pooled = None
        if self.pooled_caption is not None:
            # The end-of-text token has the highest id of the vocabulary.
            end = capt_ids.argmax(dim=-1)
            pooled = self.pooled_caption(tokens[torch.arange(len(end), device=end.device), end])
        keys_values = tuple(reader.caption_keys_values(tokens) for reader in self._caption_readers)
        return CaptionFeatures(key_bias(keep), tokens, keys_values, pooled)

    def _context(
        self,
        timesteps: Tensor,
        txt: Tensor | None,
        captions: CaptionFeatures | None,
        cond_timesteps: Tensor | None,
        y: Tensor | None,
    ) -> Context:
        conditions = (timesteps, captions, y, txt if self.text_encoder is not None else None)
        n_rows = max(len(rows) for rows in conditions if rows is not None)
        timesteps = with_rows(timesteps, n_rows)
        embedding = self.time_embedding(sinusoid(timesteps, self.config.channels))
        if self.noise_embedding is not None and cond_timesteps is not None:
            noise = self.noise_embedding(sinusoid(cond_timesteps, self.config.channels))
            embedding = embedding + with_rows(noise, n_rows)
        if self.class_embedding is not None:
            embedding = embedding + self.class_embedding(y)
        embedding = F.silu(embedding)
        pooled = None if captions is None else captions.pooled
        if pooled is not None:
            embedding = embedding + pooled
        text = text_bias = None
        if self.text_encoder is not None:
            text, keep = self.text_encoder(txt, timesteps)
            text_bias = key_bias(keep)
        positions = {int(resolution): table() for resolution, table in self.positions.items()}
        reaches_embedding = self.class_embedding is not None or pooled is not None
        return Context(embedding, text, text_bias, captions, positions, reaches_embedding)

    def _check_given(self, **given: Tensor | None) -> None:
        """What the network needs must be there; what it cannot use must not, text excepted."""
        uses = {
            "txt": self.text_encoder is not None,
            "low_res": self.config.upsampler is not None,
            "cond_timesteps": self.noise_embedding is not None,
            "y": self.class_embedding is not None,
        }
        for name, value in given.items():
            if uses[name] and value is None:
                raise ValueError(f"this network needs {name}")
            if not uses[name] and value is not None and name != "txt":
                raise ValueError(f"this network has no use for {name}")

    def _fold(self, x: Tensor, low_res: Tensor | None) -> Tensor:
        if self.grey_adapter is not None:
            x = self.grey_adapter.to_rgb(x)
        if low_res is not None and self.config.upsampler is not None:
            enlarged = F.interpolate(low_res, x.shape[2:], mode=self.config.upsampler.interpolation)
            x = torch.cat([x, enlarged], dim=1)
        return F.pixel_unshuffle(x, self.config.patch_size)

    def _unfold(self, h: Tensor) -> Tensor:
        h = F.pixel_shuffle(h, self.config.patch_size)
        return h if self.grey_adapter is None else self.grey_adapter.to_grey(h)

    def _make_positions(self) -> nn.ModuleDict:
        """A table of places for each resolution with text layers, shared by all of them."""
        if self.config.text is None:
            return nn.ModuleDict()
        factor = 2 if self.config.text.attention.image_norm == "modulated" else 1
        widths = {stage.resolution_px: factor * stage.out_channels for stage in self.plan.text_stages}
        return nn.ModuleDict({str(res): AxialPositions(res, width) for res, width in widths.items()})

    def _number_caption_readers(self) -> list[CaptionReader]:
        readers: list[CaptionReader] = []
        for module in self.modules():
            if isinstance(module, SelfAttention) and module.caption_kv is not None:
                readers.append(module)
            elif isinstance(module, TextLayer) and module.source == "captions" and module.to_text is None:
                readers.append(module.to_image)
        for slot, reader in enumerate(readers):
            reader.slot = slot
        return readers


class GreyAdapter(nn.Module):
    """Learned maps between grey pictures and an RGB network: 1 -> 3 channels in, 3 -> 1 out, first a mean."""

    def __init__(self, predicts_variance: bool) -> None:
        super().__init__()
        self.rgb = _constant_linear(1, 3)
        self.grey_mean = _constant_linear(3, 1)
        self.grey_variance = _constant_linear(3, 1) if predicts_variance else None

    def to_rgb(self, x: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, 3, H, W)."""
        return _over_channels(self.rgb, x)

    def to_grey(self, h: Tensor) -> Tensor:
        """(B, 3 or 6, H, W) -> (B, 1 or 2, H, W)."""
        mean = _over_channels(self.grey_mean, h[:, :3])
        if self.grey_variance is None:
            return mean
        return torch.cat([mean, _over_channels(self.grey_variance, h[:, 3:])], dim=1)


def _over_channels(layer: nn.Linear, x: Tensor) -> Tensor:
    return layer(x.movedim(1, -1)).movedim(-1, 1)  # type: ignore[no-any-return]


def _constant_linear(n_in: int, n_out: int) -> nn.Linear:
    layer = nn.Linear(n_in, n_out)
    nn.init.constant_(layer.weight, 1 / n_in)
    nn.init.zeros_(layer.bias)
    return layer


def _channels_in(config: ModelConfig) -> int:
    channels = 3 if config.grey_adapter else config.image_channels
    low_res = 0 if config.upsampler is None else config.upsampler.low_res_channels
    return (channels + low_res) * config.patch_size**2


def _channels_out(config: ModelConfig) -> int:
    channels = 3 if config.grey_adapter else config.image_channels
    return channels * (2 if config.predicts_variance else 1) * config.patch_size**2


def _class_embedding(n_classes: int | None, embedding: int) -> nn.Embedding | None:
    if n_classes is None:
        return None
    table = nn.Embedding(n_classes, embedding)
    nn.init.zeros_(table.weight)
    return table


def _pooled_projection(config: CaptionConfig | None, width: int | None, embedding: int) -> nn.Module | None:
    """The caption's end-of-text feature to the width of the embedding, small at first (GLIDE)."""
    if config is None or width is None or "pooled" not in config.join:
        return None
    last = nn.Linear(embedding if config.pooled_hidden_layer else width, embedding)
    with torch.no_grad():
        last.weight.mul_(config.pooled_initial_scale)
        last.bias.mul_(config.pooled_initial_scale)
    if not config.pooled_hidden_layer:
        return last
    return nn.Sequential(nn.Linear(width, embedding), nn.SiLU(), last)
