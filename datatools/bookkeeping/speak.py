"""Who speaks for a picture: its own .txt, or one of its readers; and what is said."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rapidfuzz.distance import Levenshtein

from datatools.config import Speaker
from datatools.ocr import TextLine
from datatools.transcript import TranscriptSettings, keep_lines, safebox, transcription

__all__ = ["SpeakingRule", "rule_from_json", "rule_to_json", "speak"]


@dataclass(frozen=True, slots=True)
class SpeakingRule:
    """What a transcription depends on besides readings and .txt files."""

    speaker: Speaker
    engines: tuple[str, ...]
    """Readers in order of preference; others come after them, by name."""
    transcript: TranscriptSettings


def rule_to_json(rule: SpeakingRule) -> str:
    """As the catalog remembers it."""
    return json.dumps(asdict(rule))


def rule_from_json(text: str) -> SpeakingRule:
    """The inverse of `rule_to_json`."""
    rule = json.loads(text)
    return SpeakingRule(rule["speaker"], tuple(rule["engines"]), TranscriptSettings(**rule["transcript"]))


def speak(
    key: str, given: str | None, readings: Mapping[str, Sequence[TextLine]], rule: SpeakingRule
) -> dict[str, Any] | None:
    """The row of `store.spoken` for a picture, None when nobody has anything to say about it.

    A given text always speaks. Its safebox is still the readers' affair: it comes from the lines of the
    reader that would have spoken, and there is none when the given text is empty.

    Args:
        key: the picture.
        given: the text of its own .txt, None without one.
        readings: lines by reader.
        rule: who speaks, and which lines count.
    """
    kept = {name: keep_lines(readings[name], rule.transcript) for name in _ordered(readings, rule.engines)}
    texts = {name: transcription(lines) for name, lines in kept.items()}
    engine = _choose(kept, texts, rule.speaker)
    if engine is None and given is None:
        return None
    lines = kept[engine] if engine is not None else []
    text = texts[engine] if given is None and engine is not None else given or ""
    others = [other for name, other in texts.items() if given is not None or name != engine]
    box = safebox(lines) if text else None
    # Polygons are stored as float32: what is behind the second place is noise.
    left, top, right, bottom = (None,) * 4 if box is None else (round(side, 2) for side in box)
    return {
        "key": key,
        "text": text,
        "source": "given" if given is not None else engine,
        "n_lines": len(text.split("\n")) if text else 0,
        "n_chars": len(text),
        "confidence": _mean([line.confidence for line in lines]) if given is None else None,
        "agreement": _mean([_similarity(text, other) for other in others]),
        "left": left,
        "top": top,
        "right": right,
        "bottom": bottom,
    }


def _ordered(names: Mapping[str, object], preferred: Sequence[str]) -> list[str]:
    return [name for name in preferred if name in names] + sorted(set(names) - set(preferred))


def _choose(kept: Mapping[str, list[TextLine]], texts: Mapping[str, str], speaker: Speaker) -> str | None:
    """Ties go to the reader that is named first: `max` keeps the first of equals."""
    if not kept:
        return None
    if speaker == "confident":
        return max(kept, key=lambda name: _mean([line.confidence for line in kept[name]]) or 0.0)
    if speaker == "agreeing":
        return max(texts, key=lambda name: sum(_similarity(texts[name], other) for other in texts.values()))
    return next(iter(kept))


def _similarity(a: str, b: str) -> float:
    """1 - edit distance / longer length, case-insensitive; two empty texts are alike."""
    return Levenshtein.normalized_similarity(a.lower(), b.lower())


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
