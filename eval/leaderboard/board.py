"""The leaderboard as plain data: what the terminal table, the page and every export are drawn from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from eval.metrics.score import MetricInfo, Score

if TYPE_CHECKING:
    from datatools.ocr import TextLine
    from eval.leaderboard.error_kinds import ErrorKinds
    from eval.reading.agreement import ReaderPair

__all__ = ["Board", "BoardRow", "BoardSample", "LengthBin", "PairTest"]


@dataclass(frozen=True, slots=True)
class BoardRow:
    """One setting with its scores. Rows are ranked only against rows of the same `protocol_id` and n."""

    setting_id: str
    label: str
    spec: dict[str, Any]
    scores: dict[str, Score]
    rank: int | None
    tie: str
    protocol_id: str
    seconds_per_picture: float | None = None
    n_evaluations: float | None = None
    device: str | None = None
    """What the seconds are of; several devices with commas between them."""
    rank_interval: tuple[int, int] | None = None
    """95 % interval of the rank, from resampling the prompts of the whole table."""
    n_pictures: tuple[int, int] = (0, 0)
    """Pictures that were made, of those that were expected."""
    suite_id: str = ""
    size_px: int | None = None
    """Shorter edge of the pictures; None when they differ."""
    ceiling_id: str | None = None
    """Typeset texts of its size, a key of the board's panels; None where the reader was not calibrated."""
    reader: str = ""
    """How its pictures were read, in words: reader, mode, normaliser."""


@dataclass(frozen=True, slots=True)
class BoardSample:
    """One picture with what was asked for and what was read. `lines` are in pixels of the picture."""

    setting_id: str
    prompt_id: str
    seed: int
    stratum: str
    txt: str
    capt: str | None
    reading: str
    lines: list[TextLine]
    png: bytes
    width_px: int
    height_px: int
    em_ci: bool
    cer: float


@dataclass(frozen=True, slots=True)
class LengthBin:
    """EM of the texts with `shortest` to `longest` characters, with its 95 % interval."""

    shortest: int
    longest: int
    n: int
    em: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PairTest:
    """Two settings on the same prompts and noise."""

    p: float
    """Holm-adjusted over all pairs of the group, that both have the same EM; paired by prompt."""
    low: float
    high: float
    """95 % interval of the second's EM minus the first's, over prompts."""
    n_both: int
    """Pictures that both write right."""
    n_first: int
    n_second: int
    n_neither: int


@dataclass(frozen=True, slots=True)
class Board:
    """Everything a report shows, in the order it shows it (best row first).

    `samples` are a deterministic choice of prompts, the same for every row, so that rows can be laid side by
    side; scores are over all pictures. `counts`: expected, done, no_text, failed, unread.
    """

    rows: list[BoardRow]
    samples: list[BoardSample]
    metrics: list[MetricInfo]
    provenance: dict[str, Any]
    suite: str
    counts: dict[str, int]
    em_by_length: dict[str, list[LengthBin]] = field(default_factory=dict)
    """By setting_id, over all pictures with text, and by ceiling_id: what is read of typeset text."""
    confusions: dict[str, list[tuple[str, str, int]]] = field(default_factory=dict)
    """By setting_id and ceiling_id: (asked, read, times), most frequent first; "" is nothing."""
    error_kinds: dict[str, ErrorKinds] = field(default_factory=dict)
    """By setting_id and ceiling_id, over the same pictures as the confusions."""
    floors: list[BoardRow] = field(default_factory=list)
    """Real pictures against other real ones, at each n that rows have: fidelity alone, never ranked."""
    pairs: dict[tuple[str, str], PairTest] = field(default_factory=dict)
    """Two settings of one group against each other, by their ids, over all their pictures with text."""
    agreements: list[ReaderPair] = field(default_factory=list)
    """How far readers agree, for each setting and pair of readers; never part of a rank."""
    conditions: tuple[str, ...] = ()
    """What the rows were chosen by, of all that the store has; their ranks are among all."""
