"""Where each layer stands: the plan of a U-Net, worked out from its settings before anything is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from txtdiff.model.config import ModelConfig

__all__ = ["Plan", "Slot", "Stage", "plan_network"]

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


def _listed(config: ModelConfig, level: int, resolutions_px: tuple[int, ...]) -> bool:
    # By the factor of reduction, rounded down, as the parent project compared them: for a map of 64, a listed
    # 24 means the factor 2, so the level of 32.
    return 1 << level in {config.map_size_px // resolution for resolution in resolutions_px}


def _slots(config: ModelConfig, level: int, way: Literal["down", "up"]) -> tuple[Slot, ...]:
    """Layers of a residual stage: block, self-attention, text, captions."""
    attention: tuple[Slot, ...] = ()
    if _listed(config, level, config.attention.resolutions_px):
        attention = ("attention",)
    text = _text_slots(config, level, way)
    if config.text is not None and config.text.attention.before_self_attention:
        return ("res", *text, *attention)
    return ("res", *attention, *text)


def _text_slots(config: ModelConfig, level: int, way: Literal["down", "up"]) -> tuple[Slot, ...]:
    if config.text is None or not _listed(config, level, config.text.attention.resolutions_px):
        return ()
    if way == "down":
        return ("text",) if config.text.attention.where == "down_and_up" else ()
    has_captions = config.captions is not None and "cross_attention" in config.captions.join
    return ("text", "captions") if has_captions else ("text",)


def _text_self_attention(config: ModelConfig, level: int, last: bool) -> bool:
    if config.text is None:
        return False
    attention = config.text.attention
    smallest_factor = min(config.map_size_px // resolution for resolution in attention.resolutions_px)
    at_largest = 1 << level == smallest_factor
    return {
        "none": False,
        "final": at_largest and last,
        "final_res": at_largest,
        "all": True,
    }[attention.image_self_attention]
