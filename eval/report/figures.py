"""Plots of a board as SVG and PNG files, for papers: trade-off, lengths, sampler grid, checkpoints."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from datatools.atomic import write_bytes_atomic
from datatools.errors import InputError
from eval.leaderboard.board import Board, BoardRow, LengthBin

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FigureFormat", "frontier", "write_figures"]

FigureFormat = Literal["svg", "png"]

# Okabe and Ito 2008: told apart by every common kind of colour vision; the marker says it once more.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#B8619A", "#B58900", "#3AA0D8", "#555F6B")
MARKERS = ("o", "s", "D", "^", "X", "v", "P")
STYLE: Any = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "savefig.bbox": "tight",
    "svg.hashsalt": "txtdiff",  # ids inside the file follow from its content: same board, same bytes
    "text.parse_math": False,  # a label is a stranger's text and may hold a dollar sign
}
WIDTH_IN, HEIGHT_IN = 3.4, 2.6  # one column of a paper
MAX_LINES = 4
DASHES: Any = ("--", ":", "-.", (0, (1, 4)))  # one for each ceiling that so many lines can have


def write_figures(board: Board, folder: Path, formats: Sequence[FigureFormat] = ("svg", "png")) -> list[Path]:
    """Write `tradeoff`, `lengths`, `grid` and `checkpoints` in each format.

    What the board has no numbers for is left out. The same board gives the same bytes under the same version
    of matplotlib. PNG files have 300 dots an inch.

    Returns:
        The files that were written.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise InputError("plots need matplotlib", "Install it: pip install 'txtdiff[plots]'.") from error
    with matplotlib.rc_context(STYLE):
        figures = {
            "tradeoff": _tradeoff(board),
            "lengths": _lengths(board),
            "grid": _grid(board),
            "checkpoints": _checkpoints(board),
        }
        return [
            _write(figure, folder / f"{name}.{suffix}", suffix)
            for name, figure in figures.items()
            if figure is not None
            for suffix in formats
        ]


def frontier(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (cost, gain) points with no other at most as costly and at least as good, cheapest first."""
    best = [
        (x, y)
        for x, y in set(points)
        if not any(cost <= x and gain >= y and (cost, gain) != (x, y) for cost, gain in points)
    ]
    return sorted(best)


def _write(figure: Figure, path: Path, suffix: FigureFormat) -> Path:
    file = io.BytesIO()
    metadata = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}[suffix]
    figure.savefig(file, format=suffix, dpi=300, metadata=metadata)
    write_bytes_atomic(path, file.getvalue())
    return path


def _new(label_x: str, label_y: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN))
    axes = figure.subplots()
    axes.set(xlabel=label_x, ylabel=label_y)
    return figure, axes


def _tradeoff(board: Board) -> Figure | None:
    """EM against seconds for a picture, with intervals and the frontier."""
    rows = [row for row in _main_rows(board) if row.seconds_per_picture and _em(row) is not None]
    if not rows:
        return None
    figure, axes = _new("seconds for a picture", "EM, %")
    _plain_log_axis(axes)
    samplers = list(dict.fromkeys(str(row.spec.get("sampler", "other")) for row in rows))
    for i, sampler in enumerate(samplers):
        mine = [row for row in rows if str(row.spec.get("sampler", "other")) == sampler]
        x = [row.seconds_per_picture or 0.0 for row in mine]
        y = [100 * (_em(row) or 0.0) for row in mine]
        look: dict[str, Any] = {"color": COLOURS[i % 7], "marker": MARKERS[i % 7], "linestyle": "none"}
        axes.errorbar(x, y, yerr=_errors(mine), label=sampler, markersize=4, elinewidth=0.6, **look)
    front = frontier([(row.seconds_per_picture or 0.0, 100 * (_em(row) or 0.0)) for row in rows])
    axes.step(*zip(*front, strict=True), where="post", color="black", linewidth=0.8, alpha=0.6)
    axes.legend(fontsize=7)
    return figure


def _plain_log_axis(axes: Axes) -> None:
    """A logarithmic axis labelled 0.5, 1, 2: powers of ten as formulas are no good for seconds."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _lengths(board: Board) -> Figure | None:
    """EM by characters asked for: the best rows, and what the reader reads of typeset text."""
    known = [row for row in _main_rows(board) if board.em_by_length.get(row.setting_id)][:MAX_LINES]
    if not known:
        return None
    figure, axes = _new("characters in the text", "EM, %")
    for i, row in enumerate(known):
        bins = board.em_by_length[row.setting_id]
        look: dict[str, Any] = {"color": COLOURS[i], "marker": MARKERS[i], "markersize": 3, "linewidth": 1.1}
        axes.plot(_middles(bins), [100 * b.em for b in bins], label=row.label, **look)
        low, high = [100 * b.low for b in bins], [100 * b.high for b in bins]
        axes.fill_between(_middles(bins), low, high, color=COLOURS[i], alpha=0.12, linewidth=0)
    ceilings = {row.ceiling_id: row for row in known if row.ceiling_id in board.em_by_length}
    for (ceiling_id, row), dashes in zip(ceilings.items(), DASHES, strict=False):
        bins = board.em_by_length[ceiling_id or ""]
        label = "reader's ceiling" + (f", {row.suite_id} at {row.size_px} px" if len(ceilings) > 1 else "")
        em = [100 * b.em for b in bins]
        axes.plot(_middles(bins), em, color="k", linestyle=dashes, linewidth=0.9, label=label)
    axes.set_ylim(0, 101)
    axes.legend(fontsize=6)
    return figure


def _grid(board: Board) -> Figure | None:
    """EM by steps and text guidance, a panel for each sampler and size of picture."""
    cells: dict[str, dict[tuple[Any, Any], float]] = {}
    rows = [row for row in _main_rows(board) if {"n_steps", "guidance_txt"} <= row.spec.keys()]
    has_sizes = len({row.size_px for row in rows}) > 1
    for row in reversed(rows):  # the best of rows that share a cell is written last
        if (em := _em(row)) is not None:
            place = row.spec["n_steps"], row.spec["guidance_txt"]
            cells.setdefault(_panel_title(row, has_sizes), {})[place] = 100 * em
    if sum(map(len, cells.values())) < 2:
        return None
    from matplotlib.figure import Figure

    ordered = sorted(cells.items())
    widths = [1 + len({steps for steps, _ in grid}) for _, grid in ordered]
    figure = Figure(figsize=(0.5 * sum(widths) + 0.6, HEIGHT_IN), layout="constrained")
    panels = figure.subplots(1, len(cells), squeeze=False, width_ratios=widths)[0]
    values = [em for grid in cells.values() for em in grid.values()]
    span = min(values), max(max(values), min(values) + 1)  # one scale of colour for all panels
    for axes, (sampler, grid) in zip(panels, ordered, strict=True):
        _panel(axes, sampler, grid, span)
    panels[0].set_ylabel("text guidance")
    return figure


def _panel_title(row: BoardRow, has_sizes: bool) -> str:
    sampler = str(row.spec.get("sampler", "other"))
    return f"{sampler}, {row.size_px} px" if has_sizes and row.size_px is not None else sampler


def _panel(axes: Axes, title: str, grid: Mapping[tuple[Any, Any], float], span: tuple[float, float]) -> None:
    steps, guidances = (sorted({key[i] for key in grid}) for i in (0, 1))
    values = [[grid.get((step, guidance), float("nan")) for step in steps] for guidance in guidances]
    low, high = span
    axes.imshow(values, origin="lower", cmap="cividis", vmin=low, vmax=high, aspect="auto")
    for (step, guidance), em in grid.items():
        at = steps.index(step), guidances.index(guidance)
        axes.text(
            *at,
            f"{em:.0f}",
            ha="center",
            va="center",
            color="white" if em < low + 0.45 * (high - low) else "black",
        )
    axes.set(title=title, xlabel="steps")
    axes.set_xticks(range(len(steps)), [str(step) for step in steps])
    axes.set_yticks(range(len(guidances)), [f"{guidance:g}" for guidance in guidances])
    axes.grid(visible=False)


def _checkpoints(board: Board) -> Figure | None:
    """EM over the pictures that a checkpoint was trained on, a curve for each way to sample."""
    curves: dict[str, list[BoardRow]] = {}
    for row in _main_rows(board):
        if _images(row) is not None and _em(row) is not None:
            curves.setdefault(_way_to_sample(row), []).append(row)
    several = {name: rows for name, rows in curves.items() if len({_images(row) for row in rows}) > 1}
    if not several:
        return None
    figure, axes = _new("thousand pictures trained on", "EM, %")
    for i, (name, rows) in enumerate(list(several.items())[: len(COLOURS)]):
        ordered = sorted(rows, key=lambda row: _images(row) or 0)
        x, y = [(_images(row) or 0) / 1000 for row in ordered], [100 * (_em(row) or 0.0) for row in ordered]
        look: dict[str, Any] = {"color": COLOURS[i], "marker": MARKERS[i], "markersize": 3, "linewidth": 1.1}
        axes.errorbar(x, y, yerr=_errors(ordered), label=name, elinewidth=0.6, capsize=1.5, **look)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=6)
    return figure


def _images(row: BoardRow) -> int | None:
    found = row.spec.get("images")
    return found if isinstance(found, int) else None


def _way_to_sample(row: BoardRow) -> str:
    """Sampler, steps, guidance and weights: what stays the same along a curve."""
    spec = row.spec
    guidance = spec.get("guidance_txt")
    told = [f"{spec.get('sampler', 'other')}:{spec.get('n_steps', '?')}"]
    told += [f"s={guidance:g}"] if isinstance(guidance, (int, float)) else []
    told += [str(spec["weights"])] if spec.get("weights") not in (None, "averaged") else []
    return " ".join(told)


def _main_rows(board: Board) -> list[BoardRow]:
    """Rows of the first row's protocol: others are never drawn in one plot with them."""
    return [row for row in board.rows if row.protocol_id == board.rows[0].protocol_id]


def _em(row: BoardRow) -> float | None:
    score = row.scores.get("em_ci")
    return None if score is None else score.value


def _errors(rows: Sequence[BoardRow]) -> list[list[float]]:
    """How far the intervals reach below and above the values, in per cent."""
    below, above = [], []
    for row in rows:
        score = row.scores["em_ci"]
        value = score.value or 0.0
        below.append(100 * (value - (value if score.low is None else score.low)))
        above.append(100 * ((value if score.high is None else score.high) - value))
    return [below, above]


def _middles(bins: Sequence[LengthBin]) -> list[float]:
    return [(b.shortest + b.longest) / 2 for b in bins]
