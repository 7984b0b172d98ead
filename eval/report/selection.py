"""Which rows and columns a report shows, in which order, and whether a gate of `--fail-if` holds."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from datatools.errors import InputError, suggest
from eval.leaderboard.board import Board, BoardRow
from eval.metrics.score import MetricInfo

__all__ = [
    "DEFAULT_METRICS",
    "Condition",
    "choose_metrics",
    "failing_rows",
    "filter_rows",
    "parse_condition",
    "sort_rows",
]

IF_KNOWN = ("em_rel", "em_unseen", "halluc_rate")
"""Columns that are shown of themselves where some row has a value."""
DEFAULT_METRICS = (
    *("em_ci", "em_rel", "em_unseen", "cer", "word_f1", "no_text_rate", "halluc_rate"),
    *("fid_clean", "kid", "clip_desc"),
)

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
_OWN = {name: name for name in ("label", "setting_id", "protocol_id", "rank", "n_evaluations", "device")}
_OWN |= {"seconds": "seconds_per_picture"}
_CONDITION = re.compile(r"\s*([\w.]+)\s*(<=|>=|!=|==|<|>|=)\s*(.+?)\s*")


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison of one property of a row with a value: `em_ci < 0.8`, `sampler = ddim`."""

    name: str
    operator: str
    value: float | str

    def holds(self, row: BoardRow) -> bool | None:
        """Whether it holds for a row; None when the row has no such value."""
        found = _property(row, self.name)
        if found is None:
            return None
        if isinstance(self.value, float) != isinstance(found, float):
            found, wanted = str(found), f"{self.value:g}" if isinstance(self.value, float) else self.value
            return _OPERATORS[self.operator](found, wanted)
        return _OPERATORS[self.operator](found, self.value)


def parse_condition(text: str) -> Condition:
    """ "em_ci < 0.8" -> Condition.

    Raises:
        InputError: not of the form NAME OPERATOR VALUE.
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise InputError(f"'{text}' is no condition", "Write NAME OPERATOR VALUE, e.g. 'em_ci < 0.8'.")
    name, sign, value = match.groups()
    try:
        number: float | str = float(value)
    except ValueError:
        number = value.strip("'\"")
    return Condition(name, "=" if sign == "==" else sign, number)


def filter_rows(rows: Sequence[BoardRow], conditions: Sequence[Condition]) -> list[BoardRow]:
    """Rows for which every condition holds.

    Raises:
        InputError: no row has a property of that name, or none fits.
    """
    if not rows:
        return []
    for condition in conditions:
        _check_name(rows, condition.name)
    kept = [row for row in rows if all(condition.holds(row) for condition in conditions)]
    if not kept:
        asked = " and ".join(f"{one.name} {one.operator} {one.value}" for one in conditions)
        raise InputError(f"no row has {asked}", f"There are {len(rows)} rows without --filter.")
    return kept


def sort_rows(board: Board, metric_id: str | None) -> list[BoardRow]:
    """The board's rows, best first by a metric; None leaves them in the order of their ranks.

    Rows of one protocol stay together, as the board has them. Those whose score is shown but not ranked keep
    their order, behind the ranked ones.

    Raises:
        InputError: the board has no such metric.
    """
    if metric_id is None:
        return board.rows
    [metric] = choose_metrics(board, [metric_id])
    sign = -1.0 if metric.higher_is_better else 1.0

    protocols = list(dict.fromkeys(row.protocol_id for row in board.rows))

    def key(row: BoardRow) -> tuple[int, float]:
        score = row.scores.get(metric.id)
        orders = score is not None and score.value is not None and score.ranked
        return protocols.index(row.protocol_id), sign * (score.value or 0.0) if orders and score else inf

    return sorted(board.rows, key=key)


def choose_metrics(board: Board, names: Sequence[str] | None) -> list[MetricInfo]:
    """The named metrics in the order given; without names the usual few that the board has.

    Raises:
        InputError: the board has no such metric.
    """
    known = {metric.id: metric for metric in board.metrics}
    if names is None:
        has_value = {
            name for row in board.rows for name, score in row.scores.items() if score.value is not None
        }
        usual = [name for name in DEFAULT_METRICS if name in known]
        return [known[name] for name in usual if name in has_value or name not in IF_KNOWN]
    if "all" in names:
        return list(board.metrics)
    for name in names:
        if name not in known:
            raise InputError(f"no metric '{name}'", suggest(name, known) or f"Metrics: {', '.join(known)}")
    return [known[name] for name in names]


def failing_rows(board: Board, gates: Sequence[Condition]) -> list[str]:
    """What is wrong with the rows shown: one line for each that a gate holds for, or that lacks its value."""
    rows = board.rows
    for gate in gates:
        _check_name(rows, gate.name, (metric.id for metric in board.metrics))
    wrong = []
    for gate in gates:
        for row in rows:
            if gate.holds(row) is not False:
                found = _property(row, gate.name)
                shown = f"{found:.4g}" if isinstance(found, float) else "no value"
                wrong.append(f"{row.label}: {gate.name} {gate.operator} {gate.value} ({shown})")
    return wrong


def _property(row: BoardRow, name: str) -> float | str | None:
    """A metric's value, a part of the spec, or the row's own label, rank and cost."""
    if name in row.scores:
        return row.scores[name].value
    own: dict[str, Any] = {name: getattr(row, field) for name, field in _OWN.items()}
    found = own[name] if name in own else row.spec.get(name)
    if isinstance(found, (int, float)) and not isinstance(found, bool):
        return float(found)
    return None if found is None else str(found)


def _check_name(rows: Sequence[BoardRow], name: str, others: Iterable[str] = ()) -> None:
    known = set(_OWN).union(others, *(row.scores.keys() | row.spec.keys() for row in rows))
    if name not in known:
        raise InputError(f"no row has '{name}'", suggest(name, known) or f"Known: {', '.join(sorted(known))}")
