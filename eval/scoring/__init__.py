"""Pictures -> readings and features -> scores, each step kept in the store and never done twice."""

from __future__ import annotations

from eval.scoring.steps import read_and_score, replace_scores, score_again, score_text

__all__ = ["read_and_score", "replace_scores", "score_again", "score_text"]
