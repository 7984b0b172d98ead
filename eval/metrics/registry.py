"""The registry of metrics: what each is, and how text metrics follow from counts per picture.

A text metric is sum(above) / sum(below) over the pictures of its population. Column heads, exports and the
methods page are written from this table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from eval.metrics.score import MetricInfo

if TYPE_CHECKING:  # names of metrics are known without pandas
    import pandas as pd

    Column = Callable[[pd.DataFrame], pd.Series[float] | npt.NDArray[np.float64]]

__all__ = [
    "FIDELITY_INFOS",
    "HEADLINE",
    "OTHER_METRICS",
    "PICTURE_METRICS",
    "PROMPT_METRICS",
    "SEEN_METRICS",
    "SHARE",
    "TEXT_METRICS",
    "TextMetric",
    "all_metrics",
    "metric_info",
]


HEADLINE = "em_ci"


@dataclass(frozen=True, slots=True)
class TextMetric:
    """A quotient of sums over `eval.text_metrics.counts`; `below` None makes it a mean over pictures.

    population: "text" are pictures whose target has text, "empty" those that should hold none.
    """

    info: MetricInfo
    above: Column
    below: Column | None
    population: Literal["text", "empty"] = "text"


def _column(name: str) -> Column:
    return lambda frame: frame[name].astype("float64")


def _or_where_missing(name: str, missing: str) -> Column:
    """A column of what was read; of a missing picture, which has nothing right, what was asked for."""
    return lambda frame: frame[name].where(frame["reading"].notna(), frame[missing]).astype("float64")


def _nothing_read(frame: pd.DataFrame) -> pd.Series[float]:
    return (frame["reading"].fillna("").str.strip() == "").astype("float64")


def _ned(frame: pd.DataFrame) -> pd.Series[float]:
    longer = frame[["n_target", "n_reading"]].max(axis=1).clip(lower=1)
    return 1 - frame["n_edits"] / longer


SHARE = "share"
"""Unit of numbers that are shown in per cent: shares of 1, and error rates, which may exceed it."""


def _info(
    metric: str, label: str, direction: Literal["up", "down"], description: str, source: str
) -> MetricInfo:
    return MetricInfo(metric, label, direction == "up", SHARE, description, source)


_JIWER = "as jiwer 4 computes it"
_OURS = "this project"

TEXT_METRICS: tuple[TextMetric, ...] = (
    TextMetric(
        _info("em_ci", "EM", "up", "Share of pictures whose reading equals the text, case folded.", _OURS),
        _column("em_ci"),
        None,
    ),
    TextMetric(
        _info("em_strict", "EM strict", "up", "Share of pictures read exactly, case and marks kept.", _OURS),
        _column("em_strict"),
        None,
    ),
    TextMetric(
        _info("em_nospace", "EM no space", "up", "As EM, blind to blanks and line breaks.", _OURS),
        _column("em_nospace"),
        None,
    ),
    TextMetric(
        _info("em_alnum", "EM alnum", "up", "As EM, without punctuation and symbols.", _OURS),
        _column("em_alnum"),
        None,
    ),
    TextMetric(
        _info("em_confusable", "EM confusable", "up", "As EM, with 0 = o and 1 = l = i = |.", _OURS),
        _column("em_confusable"),
        None,
    ),
    TextMetric(
        _info(
            "cer", "CER", "down", "Character edits over characters of the text, summed. May exceed 1.", _JIWER
        ),
        _column("n_edits"),
        _column("n_target"),
    ),
    TextMetric(
        _info(
            "cer_clip",
            "CER clipped",
            "down",
            "Mean over pictures of the character error rate, at most 1.",
            _OURS,
        ),
        lambda frame: (frame["n_edits"] / frame["n_target"].clip(lower=1)).clip(upper=1),
        None,
    ),
    TextMetric(
        _info(
            "cer_free", "CER, any line order", "down", "CER after lines are matched at the least cost.", _OURS
        ),
        _column("n_edits_free"),
        _column("n_target"),
    ),
    TextMetric(
        _info(
            "order_gap",
            "order gap",
            "down",
            "CER minus CER in any line order: error of reading order.",
            _OURS,
        ),
        lambda frame: frame["n_edits"] - frame["n_edits_free"],
        _column("n_target"),
    ),
    TextMetric(
        _info(
            "ned", "NED", "up", "Mean of 1 - edits / longer length: a similarity.", "ICDAR 2019 RRC, 1-N.E.D."
        ),
        _ned,
        None,
    ),
    TextMetric(
        _info("wer", "WER", "down", "Word edits over words of the text, summed. May exceed 1.", _JIWER),
        _column("n_word_edits"),
        _column("n_words_target"),
    ),
    TextMetric(
        _info("word_p", "word precision", "up", "Words read that were asked for, any order.", _OURS),
        _column("n_words_shared"),
        _or_where_missing("n_words_reading", "n_words_target"),
    ),
    TextMetric(
        _info("word_r", "word recall", "up", "Words asked for that were read, any order.", _OURS),
        _column("n_words_shared"),
        _column("n_words_target"),
    ),
    TextMetric(
        _info("word_f1", "word F1", "up", "Harmonic mean of word precision and recall.", _OURS),
        lambda frame: 2.0 * frame["n_words_shared"],
        lambda frame: frame["n_words_target"] + _or_where_missing("n_words_reading", "n_words_target")(frame),
    ),
    TextMetric(
        _info("line_acc", "line accuracy", "up", "Lines asked for that some line read equals.", _OURS),
        _column("n_lines_shared"),
        _column("n_lines_target"),
    ),
    TextMetric(
        _info("line_prec", "line precision", "up", "Lines read that were asked for.", _OURS),
        _column("n_lines_shared"),
        _or_where_missing("n_lines_reading", "n_lines_target"),
    ),
    TextMetric(
        _info("char_recall", "char recall", "up", "Characters asked for that were read, any order.", _OURS),
        _column("n_chars_shared"),
        _column("n_chars_target"),
    ),
    TextMetric(
        _info("char_precision", "char precision", "up", "Characters read that were asked for.", _OURS),
        _column("n_chars_shared"),
        _or_where_missing("n_chars_reading", "n_chars_target"),
    ),
    TextMetric(
        _info(
            "trigram_sim",
            "trigrams",
            "up",
            "Mean share of character trigrams in common.",
            "nostalgebraist, 2022; NGram.compare",
        ),
        _column("trigram_sim"),
        None,
    ),
    TextMetric(
        _info(
            "kept_rate",
            "kept",
            "up",
            "Share of pictures with trigram similarity 0.95 or more.",
            "as trigrams",
        ),
        lambda frame: (frame["trigram_sim"] >= 0.95).astype("float64"),
        None,
    ),
    TextMetric(
        _info("case_acc", "case", "up", "Letters read right but for case whose case is right too.", _OURS),
        _column("n_case_same"),
        _or_where_missing("n_cased", "n_chars_target"),
    ),
    TextMetric(
        _info("no_text_rate", "no text", "down", "Share of pictures in which nothing was read.", _OURS),
        _nothing_read,
        None,
    ),
    TextMetric(
        _info(
            "rnfi",
            "unreadable",
            "down",
            "Share of pictures with under 1 % of characters found.",
            "STRICT, 2025",
        ),
        lambda frame: (frame["n_chars_shared"] < 0.01 * frame["n_chars_target"]).astype("float64"),
        None,
    ),
    TextMetric(
        _info("halluc_rate", "hallucinated", "down", "Share of empty texts whose picture holds text.", _OURS),
        lambda frame: (~frame["em_ci"].astype(bool)).astype("float64"),
        None,
        "empty",
    ),
    TextMetric(
        MetricInfo(
            "spurious_chars",
            "spurious",
            False,
            "characters",
            "Mean characters read where the text is empty, over pictures that were read.",
            _OURS,
        ),
        _column("n_reading"),
        lambda frame: frame["reading"].notna().astype("float64"),
        "empty",
    ),
)

PROMPT_METRICS: tuple[MetricInfo, ...] = (
    _info("em_at_4", "EM@4", "up", "Chance that one of 4 pictures of a prompt is right.", "Chen 2021"),
    _info("em_at_8", "EM@8", "up", "Chance that one of 8 pictures of a prompt is right.", "Chen 2021"),
    _info("ned_chance", "NED by chance", "down", "NED of readings with other prompts' texts.", _OURS),
    _info("ned_adj", "NED adjusted", "up", "NED above chance, over 1 - chance.", _OURS),
    _info("p_char", "p per character", "up", "p of EM = p^length, most likely.", _OURS),
    MetricInfo(
        "length_50", "length at 50 %", True, "characters", "Length at which EM falls to one half.", _OURS
    ),
)
"""Text metrics over prompts (`eval.metrics.prompts`), under the same protocol."""

SEEN_METRICS: tuple[MetricInfo, ...] = (
    _info("em_seen", "EM seen", "up", "EM of texts whose words all stood in the training texts.", _OURS),
    _info("em_unseen", "EM unseen", "up", "EM of texts with a word that no training text held.", _OURS),
    _info("unseen_gap", "unseen gap", "down", "EM of seen words minus EM of unseen ones.", _OURS),
)
"""EM by whether the words stood in the training catalog (`eval.metrics.seen_words`), where that is known."""

FIDELITY_INFOS: tuple[MetricInfo, ...] = (
    MetricInfo(
        "fid_clean",
        "FID",
        False,
        "",
        "Fréchet distance to the reference pictures, clean-fid preparation.",
        "Heusel 2017",
    ),
    MetricInfo(
        "fid_inf", "FID∞", False, "", "FID with endless pictures, from its fall with 1/n.", "Chong 2020"
    ),
    MetricInfo("fid_inf_r2", "FID∞ fit", True, "", "R² of the line that FID∞ is the end of.", "Chong 2020"),
    MetricInfo(
        "kid", "KID", False, "x1000", "Unbiased kernel distance to the reference pictures.", "Binkowski 2018"
    ),
    _info("precision", "precision", "up", "Pictures within the real manifold, k = 5.", "Kynkäänniemi 2019"),
    _info("recall", "recall", "up", "Real pictures within the manifold of ours, k = 5.", "Kynkäänniemi 2019"),
    MetricInfo(
        "density", "density", True, "", "Real neighbourhoods a picture lies in, over k.", "Naeem 2020"
    ),
    _info("coverage", "coverage", "up", "Real neighbourhoods that hold a picture of ours.", "Naeem 2020"),
    MetricInfo(
        "nn_distance",
        "nearest real",
        True,
        "",
        "Median distance to the nearest reference picture, in that of reference pictures among themselves. "
        "Near 0: copies.",
        _OURS,
    ),
    _info(
        "copy_rate",
        "copies",
        "down",
        "Pictures nearer to a reference picture than 99 in 100 of those are to any other.",
        _OURS,
    ),
    MetricInfo(
        "fd_efficientnet",
        "FD EfficientNet",
        False,
        "",
        "Fréchet distance over features of EfficientNet-Lite0 (ImageNet).",
        "as FID",
    ),
    MetricInfo(
        "fd_dinov2",
        "FD DINOv2",
        False,
        "",
        "Fréchet distance over features of DINOv2 ViT-B/14.",
        "Stein 2023",
    ),
)
"""Fidelity to the reference pictures: the rows of real pictures have these and no others."""

PICTURE_METRICS: tuple[MetricInfo, ...] = (
    *FIDELITY_INFOS,
    MetricInfo(
        "clip_desc", "CLIP", True, "x100", "Agreement of picture and description.", "Hessel 2021, without 2.5"
    ),
    MetricInfo("clip_text", "CLIP text", True, "x100", 'Agreement with the words: the text "…".', "as CLIP"),
    MetricInfo("clip_full", "CLIP full", True, "x100", "Agreement with the whole prompt.", "as CLIP"),
    MetricInfo(
        "clip_floor",
        "CLIP chance",
        False,
        "x100",
        "Mean agreement with descriptions of other pictures.",
        "as CLIP",
    ),
)
"""Metrics that follow from pictures and prompts, whatever reads them."""

OTHER_METRICS: tuple[MetricInfo, ...] = (
    MetricInfo(
        "em_rel", "EM / ceiling", True, SHARE, "EM over what the reader reads of typeset text.", _OURS
    ),
    MetricInfo(
        "em_star",
        "EM corrected",
        True,
        SHARE,
        "EM, corrected for what the reader misses and invents.",
        "Rogan 1978",
    ),
    MetricInfo(
        "em_certified", "EM certified", True, SHARE, "EM on texts that the reader reads when typeset.", _OURS
    ),
    *PICTURE_METRICS,
)


def all_metrics() -> list[MetricInfo]:
    """Every metric there is, in the order in which reports show them."""
    return [text.info for text in TEXT_METRICS] + [*PROMPT_METRICS, *SEEN_METRICS, *OTHER_METRICS]


def metric_info(metric: str) -> MetricInfo | None:
    """The registry entry of a metric, None when there is no such metric."""
    return next((info for info in all_metrics() if info.id == metric), None)
