"""What every number of a setting is: a score with its interval or its reason, and what a metric is."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MetricInfo", "Score"]


@dataclass(frozen=True, slots=True)
class Score:
    """One number of one setting, or the reason there is none.

    `low` and `high` bound the 95 % interval. `n` pictures were scored of `n_expected`; a missing picture
    counts as worst, so `n < n_expected` says how much of the value is penalty. `ranked` is False for a value
    that is shown but must not order rows (`reason` says why). `value is None` if and only if nothing could
    be computed, and then `reason` says why and what to do. A ranked value may have a reason too: a remark.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    n_expected: int = 0
    reason: str | None = None
    ranked: bool = True

    def __post_init__(self) -> None:
        if self.value is None and not self.reason:
            raise ValueError("a score without a value needs its reason")


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """What a metric is: the registry entry that column heads and the methods page are written from.

    `unit`: "share" for shares of 1 and error rates, which are best shown in per cent; "x1000" and "x100" for
    values already multiplied so; "characters"; or "" for plain numbers.
    """

    id: str
    label: str
    higher_is_better: bool
    unit: str
    description: str
    source: str
