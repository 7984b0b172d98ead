"""How good a scoring CLIP is: retrieval on pictures it has never seen, and what its scores tell apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pictures import Captioned, make_captioned

from datatools.synth.options import Split
from eval.clip_score import CLIP_KINDS, ClipScorer, clip_prompts, open_clip_scorer
from eval.statistics import wilson

N_PICTURES = 500
SETS: tuple[tuple[str, int, Split], ...] = (
    ("held-out seed", 72, "train"),
    ("held-out seed, words and fonts", 73, "test"),
)


def measure(folder: Path, training: dict[str, int]) -> None:
    """Write `card.json`: how the CLIP in `folder` was trained, and what it scores on both held-out sets."""
    scorer = open_clip_scorer(f"local-dir:{folder}", device="cpu")
    sets = {name: measure_set(scorer, make_captioned(N_PICTURES, seed, split)) for name, seed, split in SETS}
    card = {"id": scorer.id.replace(folder.name, "txtdiff-tiny"), "training": training, "sets": sets}
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    print(as_table(card))


def measure_set(scorer: ClipScorer, data: Captioned) -> dict[str, Any]:
    """Retrieval and scores for each kind of caption, over the pictures that have one."""
    pictures = scorer.embed_pictures(data.pictures)
    found = {}
    for kind in CLIP_KINDS:
        said = [clip_prompts(str(text), str(full))[kind] for full, _, text in data.captions]
        has = np.array([caption is not None for caption in said])
        captions = [caption for caption in said if caption is not None]
        found[kind] = measure_kind(pictures[has], scorer.embed_texts(captions), captions)
    return found


def measure_kind(
    pictures: npt.NDArray[np.float32], texts: npt.NDArray[np.float32], captions: Sequence[str]
) -> dict[str, Any]:
    """R@1 and R@5 both ways, mean scores with the own and with other captions, and how often own is higher.

    Pictures with equal captions count as right for one another.
    """
    cosine = pictures @ texts.T
    right = np.array(captions)[:, None] == np.array(captions)[None, :]
    own, other = np.diagonal(cosine)[:, None], np.where(right, np.nan, cosine)
    return {
        "n": len(captions),
        "caption to picture": recalls(cosine.T, right),
        "picture to caption": recalls(cosine, right),
        "own": float(100 * np.maximum(0, own).mean()),
        "others": float(np.nanmean(100 * np.maximum(0, other))),
        "own higher": float(np.nanmean(np.where(np.isnan(other), np.nan, own > other))),
    }


def recalls(scores: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> dict[str, list[float]]:
    """Share of rows with a right column among the best 1 and 5, with Wilson's interval."""
    order = np.argsort(-scores, axis=1, kind="stable")
    hits = np.take_along_axis(right, order, axis=1)
    found = {}
    for k in (1, 5):
        n_right = int(hits[:, :k].any(axis=1).sum())
        found[f"R@{k}"] = [n_right / len(scores), *wilson(n_right, len(scores))]
    return found


def as_table(card: dict[str, Any]) -> str:
    """The card's numbers as Markdown."""
    heads = ["pictures", "captions", "n", "caption to picture R@1", "R@5", "picture to caption R@1", "R@5"]
    heads += ["own", "others", "own higher"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, kinds in card["sets"].items():
        for kind, found in kinds.items():
            shares = [
                share(found[way][k])
                for way in ("caption to picture", "picture to caption")
                for k in ("R@1", "R@5")
            ]
            scores = [f"{found['own']:.1f}", f"{found['others']:.1f}", f"{100 * found['own higher']:.1f} %"]
            lines.append(f"| {' | '.join([name, kind, str(found['n']), *shares, *scores])} |")
    return "\n".join(lines)


def share(found: Sequence[float]) -> str:
    value, low, high = (100 * number for number in found)
    return f"{value:.1f} % [{low:.1f} {high:.1f}]"
