"""Options of the commands that read and score pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from eval.networks.names import other_networks
from eval.reading.protocol import Mode
from eval.scoring.options import ScoreOptions
from eval.text_metrics.normalisers import Normaliser

__all__ = ["ReadingFlags", "Reference", "ScoringFlags"]

Reference = Annotated[
    Path | None,
    typer.Option(metavar="CATALOG", help="Catalog of real pictures, for FID and KID."),
]


@dataclass(frozen=True, kw_only=True)
class ReadingFlags:
    """How pictures are read and compared with what was asked for."""

    ocr: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Reader: rapidocr (default), easyocr or tesseract. Repeat it: each makes rows of its own, "
            "and how far they agree is told.",
        ),
    ] = None
    mode: Annotated[
        Mode,
        typer.Option(
            help="e2e: the reader finds the text. box: its recogniser is shown where each line stands, which "
            "the prompts file says. The two are never ranked together."
        ),
    ] = "e2e"
    normaliser: Annotated[Normaliser, typer.Option(help="What counts as the same text in error rates.")] = (
        "ci"
    )
    min_confidence: Annotated[
        float, typer.Option(min=0, max=1, help="Lines that the reader is less sure of are not counted.")
    ] = 0.5

    def options(self) -> ScoreOptions:
        """What scoring takes."""
        return ScoreOptions(self.normaliser, self.min_confidence, mode=self.mode)

    def readers(self) -> Sequence[str]:
        """Names of the readers, each once."""
        return list(dict.fromkeys(self.ocr or ["rapidocr"]))


@dataclass(frozen=True, kw_only=True)
class ScoringFlags(ReadingFlags):
    """How pictures are scored; the same for every way they were made."""

    clip_model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="open_clip architecture that scores agreement; tiny: this package's; none: not scored.",
        ),
    ] = "ViT-B-32"
    clip_weights: Annotated[
        str, typer.Option(metavar="TAG|FILE", help="Its weights: open_clip's tag, or a file.")
    ] = "laion2b_s34b_b79k"
    fd: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Also the Fréchet distance over features of efficientnet or dinov2; repeat it.",
        ),
    ] = None
    seen_words: Annotated[
        Path | None,
        typer.Option(
            metavar="CATALOG",
            help="What the model was trained on: EM apart for texts whose words all stand there, and for "
            "the others. Default: the catalog that --base names.",
        ),
    ] = None

    def options(self) -> ScoreOptions:
        """What scoring takes."""
        return replace(
            super().options(),
            clip=None if self.clip_model == "none" else (self.clip_model, self.clip_weights),
            other_networks=other_networks(self.fd or ()),
            seen_words=self.seen_words,
        )
