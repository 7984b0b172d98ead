"""A board as the plain, compact data its page is drawn from: samples in columns, numbers that are finite."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from eval.leaderboard.board import Board, BoardRow, BoardSample, PairTest
from eval.metrics.score import Score

__all__ = ["board_data", "samples_data"]


def board_data(board: Board) -> dict[str, Any]:
    """Everything the page shows but samples, as JSON-able data: what its table is drawn from."""
    names = [metric.id for metric in board.metrics]
    return {
        "suite": board.suite,
        "conditions": list(board.conditions),
        "counts": board.counts,
        "metrics": [asdict(metric) for metric in board.metrics],
        "rows": [_row(row, names) for row in board.rows],
        "floors": [_row(row, names) for row in board.floors],
        "lengths": {
            key: [_finite(asdict(b)) for b in bins] for key, bins in sorted(board.em_by_length.items())
        },
        "confusions": {key: [list(c) for c in most] for key, most in sorted(board.confusions.items())},
        "errors": {key: asdict(kinds) for key, kinds in sorted(board.error_kinds.items())},
        "agreements": [_finite(asdict(pair)) for pair in board.agreements],
        "pairs": [[a, b, *_pair(test)] for (a, b), test in sorted(board.pairs.items())],
        "provenance": _finite(board.provenance),
    }


def samples_data(board: Board) -> dict[str, Any]:
    """The samples the page shows, without their pictures, and their prompts.

    Samples refer to rows and prompts by position; they are columns of equal length.
    """
    prompts, prompt_of = _prompts(board.samples)
    # They are of the first row's protocol: a setting's rows of other readers have none.
    main = board.rows[0].protocol_id if board.rows else ""
    by_setting = {row.setting_id: i for i, row in enumerate(board.rows) if row.protocol_id == main}
    return {"prompts": prompts, "samples": _samples(board.samples, by_setting, prompt_of)}


def _row(row: BoardRow, metrics: Sequence[str]) -> dict[str, Any]:
    return {
        "id": row.setting_id,
        "label": row.label,
        "spec": _finite(row.spec),
        "axes": _axes(row.spec),
        "rank": row.rank,
        "rank_interval": row.rank_interval,
        "tie": row.tie,
        "protocol": row.protocol_id,
        "reader": row.reader,
        "suite": row.suite_id,
        "seconds": _number(row.seconds_per_picture),
        "evaluations": _number(row.n_evaluations),
        "device": row.device,
        "size_px": row.size_px,
        "ceiling": row.ceiling_id,
        "pictures": list(row.n_pictures),
        "scores": {name: _score(row.scores[name]) for name in metrics if name in row.scores},
    }


def _pair(test: PairTest) -> list[float | int | None]:
    """In the order in which data.js reads them."""
    numbers = map(_number, (test.p, test.low, test.high))
    return [*numbers, test.n_both, test.n_first, test.n_second, test.n_neither]


def _score(score: Score) -> dict[str, Any]:
    """A score without what is absent; a value that is no number is a reason, not a number."""
    value = _number(score.value)
    kept = {
        "value": value,
        "low": _number(score.low),
        "high": _number(score.high),
        "n": score.n,
        "expected": score.n_expected,
        "reason": score.reason or ("not a finite number" if value is None else None),
        "unranked": None if score.ranked and value is not None else True,
    }
    return {key: entry for key, entry in kept.items() if entry is not None}


def _prompts(samples: Sequence[BoardSample]) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Each prompt once, in order of appearance, and its position."""
    position: dict[str, int] = {}
    prompts: list[dict[str, Any]] = []
    for sample in samples:
        if sample.prompt_id not in position:
            position[sample.prompt_id] = len(prompts)
            prompts.append(
                {"id": sample.prompt_id, "stratum": sample.stratum, "txt": sample.txt, "capt": sample.capt}
            )
    return prompts, position


def _samples(
    samples: Sequence[BoardSample], row_of: Mapping[str, int], prompt_of: Mapping[str, int]
) -> dict[str, list[Any]]:
    return {
        "row": [row_of.get(s.setting_id, -1) for s in samples],
        "prompt": [prompt_of[s.prompt_id] for s in samples],
        "seed": [s.seed for s in samples],
        "reading": [s.reading for s in samples],
        "right": [int(s.em_ci) for s in samples],
        "cer": [_number(s.cer) for s in samples],
        "size": [[s.width_px, s.height_px] for s in samples],
        "lines": [
            [[line.text, _rounded(line.confidence), _corners(line.polygon)] for line in s.lines]
            for s in samples
        ],
    }


def _corners(polygon: Sequence[tuple[float, float]]) -> list[float]:
    return [_rounded(number) for corner in polygon for number in corner]


def _rounded(number: float) -> float:
    return round(float(number), 2) if math.isfinite(number) else 0.0


def _axes(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The plain values of a spec by name, the first of each: what charts can group by."""
    axes: dict[str, Any] = {}
    for name, value in _leaves(spec):
        axes.setdefault(name, value)
    return axes


def _leaves(spec: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Values and their last names; "upsampler eta" is not the base's."""
    if isinstance(spec, Mapping):
        stage = "upsampler " if name == "upsamplers" else ""
        for key, value in spec.items():
            yield from _leaves(value, f"{stage}{key}")
    elif isinstance(spec, list | tuple):
        for value in spec:
            yield from _leaves(value, name)
    elif isinstance(spec, str | bool | int) or (isinstance(spec, float) and math.isfinite(spec)):
        yield name, spec


def _number(value: float | None) -> float | None:
    """Six significant digits are more than any score means; None stays None and NaN becomes it."""
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None


def _finite(value: Any) -> Any:
    """`value` with NaN and infinities as text: JSON has neither."""
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | bool | int | float) or value is None else str(value)
