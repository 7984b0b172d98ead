"""Where each layer stands: the plan of a U-Net, worked out from its settings before anything is built."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # which checks its settings by the plan
    from txtdiff.model.config import ModelConfig

__all__ = ["Plan", "Slot", "Stage", "Way", "attention_heads", "listed_levels", "plan_network", "uneven_heads"]

Way = Literal["down", "middle", "up"]

Slot = Literal["res", "attention", "text", "captions", "down", "up", "res_out"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One entry on the way down, in the middle, or on the way up.

    Attributes:
        resolution_px: width of the feature map that enters.
        in_channels: width in channels of what enters, the skip connection included.
        out_channels: width of what leaves.
        slots: what stands here, in order.
        text_self_attention: the text layers are followed by self-attention among the picture's positions.
    """

    resolution_px: int
    in_channels: int
    out_channels: int
    slots: tuple[Slot, ...]
    text_self_attention: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """All stages of a network."""

    down: tuple[Stage, ...]
    middle: Stage
    up: tuple[Stage, ...]

    @property
    def text_stages(self) -> list[Stage]:
        """Stages with text layers."""
        return [stage for stage in (*self.down, *self.up) if "text" in stage.slots]


def plan_network(config: ModelConfig) -> Plan:
    """The stages of the network that `config` describes."""
    levels = list(enumerate(int(mult * config.channels) for mult in config.channel_mult))
    down, skips = _way_down(config, levels)
    width = levels[-1][1]
    middle = Stage(_resolution(config, levels[-1][0]), width, width, ("res", "attention", "res_out"))
    return Plan(tuple(down), middle, tuple(_way_up(config, levels, skips)))


def attention_heads(config: ModelConfig, width: int, way: Way) -> int:
    """Heads of self-attention on a feature map of `width` channels."""
    attention = config.attention
    _, per_head = _channels_per_head(config, way)
    if per_head is not None:
        return width // per_head
    return (attention.heads_up or attention.heads) if way == "up" else attention.heads


def _channels_per_head(config: ModelConfig, way: Way) -> tuple[str, int | None]:
    """The setting that decides it, and what it says; None: a number of heads decides."""
    attention = config.attention
    if way == "middle":
        return "heads", None
    if way == "up" and attention.channels_per_head_up != "same":
        return "channels_per_head_up", attention.channels_per_head_up
    return "channels_per_head", attention.channels_per_head


def uneven_heads(config: ModelConfig) -> Iterator[str]:
    """What keeps the network from being built: heads that cannot share the channels evenly, each a line."""
    if config.attention.kind != "self_attention":
        return
    plan = plan_network(config)
    stages: list[tuple[Way, Stage]] = [("down", stage) for stage in plan.down]
    stages += [("middle", plan.middle), *(("up", stage) for stage in plan.up)]
    for way, stage in stages:
        width = stage.out_channels
        of_map = f"the {width} channels of the feature map of {stage.resolution_px} px"
        if "attention" in stage.slots:
            name, per_head = _channels_per_head(config, way)
            if per_head is not None and per_head > width:
                yield f"attention.{name} = {per_head} is larger than {of_map}, which has self-attention"
            elif width % (heads := attention_heads(config, width, way)):
                yield f"attention: {heads} heads cannot share {of_map} evenly"
        if config.text is None or "text" not in stage.slots:
            continue
        text, heads = config.text.attention, config.text.attention.heads
        from_map = text.weave is not None and text.weave.qkv_width == "image"
        if (from_map or stage.text_self_attention) and width % heads:
            yield f"text.attention: {heads} heads cannot share {of_map} evenly"
        if config.text.width % heads:
            yield f"text.attention: {heads} heads cannot share the text.width = {config.text.width} evenly"


def _way_down(config: ModelConfig, levels: list[tuple[int, int]]) -> tuple[list[Stage], list[int]]:
    """Stages down, and the widths of the skip connections (the stem's first)."""
    stages: list[Stage] = []
    skips = [config.channels]
    for level, width in levels:
        resolution = _resolution(config, level)
        slots = _slots(config, level, way="down")
        for _ in range(config.n_res_blocks):
            stages.append(Stage(resolution, skips[-1], width, slots))
            skips.append(width)
        if level != levels[-1][0]:
            stages.append(Stage(resolution, width, width, ("down",)))
            skips.append(width)
    return stages, skips


def _way_up(config: ModelConfig, levels: list[tuple[int, int]], skips: list[int]) -> list[Stage]:
    stages: list[Stage] = []
    current = levels[-1][1]
    for level, width in reversed(levels):
        slots = _slots(config, level, way="up")
        for i in range(config.n_res_blocks + 1):
            last = i == config.n_res_blocks
            ends_level: tuple[Slot, ...] = ("up",) if last and level else ()
            stages.append(
                Stage(
                    resolution_px=_resolution(config, level),
                    in_channels=current + skips.pop(),
                    out_channels=width,
                    slots=slots + ends_level,
                    text_self_attention=_text_self_attention(config, level, last),
                )
            )
            current = width
    return stages


def _resolution(config: ModelConfig, level: int) -> int:
    return config.map_size_px >> level


def listed_levels(config: ModelConfig, resolutions_px: tuple[int, ...]) -> list[int]:
    """Levels of the network that a list of resolutions means; each halves the feature map.

    By the factor of reduction, rounded down, as the parent project compared them: for a map of 64, a listed
    24 means the factor 2, so the level of 32.
    """
    factors = {config.map_size_px // resolution for resolution in resolutions_px}
    return [level for level in range(len(config.channel_mult)) if 1 << level in factors]


def _slots(config: ModelConfig, level: int, way: Literal["down", "up"]) -> tuple[Slot, ...]:
    """Layers of a residual stage: block, self-attention, text, captions."""
    attention: tuple[Slot, ...] = ()
    if level in listed_levels(config, config.attention.resolutions_px):
        attention = ("attention",)
    text = _text_slots(config, level, way)
    if config.text is not None and config.text.attention.before_self_attention:
        return ("res", *text, *attention)
    return ("res", *attention, *text)


def _text_slots(config: ModelConfig, level: int, way: Literal["down", "up"]) -> tuple[Slot, ...]:
    if config.text is None or level not in listed_levels(config, config.text.attention.resolutions_px):
        return ()
    if way == "down":
        return ("text",) if config.text.attention.where == "down_and_up" else ()
    has_captions = config.captions is not None and "cross_attention" in config.captions.join
    return ("text", "captions") if has_captions else ("text",)


def _text_self_attention(config: ModelConfig, level: int, last: bool) -> bool:
    if config.text is None:
        return False
    attention = config.text.attention
    factors = [config.map_size_px // resolution for resolution in attention.resolutions_px]
    at_largest = 1 << level == min(factors, default=None)
    return {
        "none": False,
        "final": at_largest and last,
        "final_res": at_largest,
        "all": True,
    }[attention.image_self_attention]
