"""A board for the page's tests: made up, but of the shape and size of a real one."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from datatools.ocr import TextLine
from eval.leaderboard.board import Board, BoardRow, BoardSample, LengthBin, PairTest
from eval.leaderboard.error_kinds import ErrorKinds
from eval.metrics.registry import OTHER_METRICS, TEXT_METRICS
from eval.metrics.score import Score
from eval.reading.agreement import Agreement, ReaderPair
from eval.statistics import wilson

WORDS = ["sign", "open", "bread", "milk", "seven", "river", "exit", "north", "garden", "radio", "paper"]
CEILING = "ce" * 6
SETTINGS = [
    (sampler, steps, guidance)
    for sampler, steps in (
        ("ddim", 10),
        ("ddim", 20),
        ("ddim", 50),
        ("plms", 20),
        ("dpmpp_2m", 12),
        ("unipc", 8),
    )
    for guidance in (1.0, 2.0, 3.0)
]


def make_board(n_settings: int = 18, n_prompts: int = 24, size_px: int = 64) -> Board:
    """A sweep of `n_settings` settings, best first, a picture for each setting and prompt."""
    random = np.random.default_rng(0)
    skill = sorted(random.uniform(0.15, 0.9, n_settings), reverse=True)
    samples, rows = [], []
    for i in range(n_settings):
        sampler, steps, guidance = SETTINGS[i % len(SETTINGS)]
        mine = [_sample(random, f"{i:012x}", p, skill[i], size_px) for p in range(n_prompts)]
        samples += mine
        rows.append(_row(i, sampler, steps, guidance, mine))
    rows.sort(key=lambda row: -(row.scores["em_ci"].value or 0))
    ranked = [
        replace(row, rank=i + 1, tie="abcdefg"[i // 3 % 7], rank_interval=(max(1, i - 1), i + 3))
        for i, row in enumerate(rows)
    ]
    present = set(rows[0].scores)
    return Board(
        rows=ranked,
        samples=samples,
        metrics=[info for info in [m.info for m in TEXT_METRICS] + list(OTHER_METRICS) if info.id in present],
        provenance={
            "protocols": {"p1": {"reader": "rapidocr", "min_confidence": 0.5, "normaliser": "ci"}},
            "readers": {
                "r1": {"name": "rapidocr", "version": "3.10.0", "weights": "9f" * 32, "settings": {}}
            },
            "runs": [{"run_id": "1", "git": {"commit": "ab" * 20, "dirty": False}, "device": "cpu"}],
        },
        suite="smoke-1-0123abcd",
        counts={"expected": len(samples), "done": len(samples) - 2, "no_text": 17, "failed": 2},
        em_by_length={row.setting_id: _lengths(skill[i]) for i, row in enumerate(ranked)}
        | {CEILING: _lengths(0.97)},
        confusions={
            row.setting_id: [("o", "0", 9), ("l", "i", 6), ("", "s", 4), ("m", "", 3)] for row in ranked
        }
        | {CEILING: [("l", "i", 2), ("o", "0", 1)]},
        error_kinds={row.setting_id: ErrorKinds(200, 12, 6, 2, 1, 8) for row in ranked}
        | {CEILING: ErrorKinds(1000, 9, 4, 0, 0, 1)},
        floors=[_floor(n_prompts)],
        agreements=[
            ReaderPair(
                ranked[0].label, "rapidocr", "tesseract", Agreement(24, 0.75, 0.5, 0.9, 0.91, 0.6, 0.3, 0.9)
            ),
            ReaderPair(ranked[1].label, "rapidocr", "tesseract", Agreement(24, 1.0, 0.86, 1.0, 1.0)),
        ],
        pairs={
            (ranked[0].setting_id, ranked[i].setting_id): PairTest(0.5 / i**2, -0.3, 0.05, 40, 30, 20, 10)
            for i in range(1, n_settings)
        },
    )


def read_again(row: BoardRow, em: float) -> BoardRow:
    """The same pictures by another reader, which got `em` of them right."""
    low, high = wilson(em * 24, 24)
    scores = row.scores | {"em_ci": Score(em, low, high, 24, 24)}
    return replace(row, scores=scores, protocol_id="p2", reader="easyocr e2e ci", ceiling_id=None)


def _row(i: int, sampler: str, steps: int, guidance: float, samples: list[BoardSample]) -> BoardRow:
    n = len(samples)
    right = sum(s.em_ci for s in samples)
    em = wilson(right, n)
    cer = float(np.mean([min(1, s.cer) for s in samples]))
    none = Score(
        None,
        n_expected=n,
        reason="no weights for ViT-B-32 / laion2b_s34b_b79k: the hub cannot be reached",
        ranked=False,
    )
    few = f"n = {n} against 300 pictures; orders rows from 250 on both sides"
    return BoardRow(
        setting_id=samples[0].setting_id,
        label=f"{sampler}:{steps} s={guidance:g}",
        spec={
            "stages": [{"sampler": sampler, "n_steps": steps, "guidance_txt": guidance}],
            "base": "ab12cd34",
        },
        scores={
            "em_ci": Score(right / n, em.low, em.high, n, n),
            "cer": Score(cer, max(0, cer - 0.1), cer + 0.1, n, n),
            "ned": Score(1 - cer, max(0, 0.9 - cer), min(1, 1.1 - cer), n - (i == 3), n),
            "word_f1": Score(min(1, right / n + 0.05), em.low, em.high, n, n),
            "no_text_rate": Score(0.02 * (i % 4), 0, 0.1, n, n),
            "fid_clean": Score(
                60.0 + 7 * i, n=n, n_expected=n, reason=few.replace("250", "2048"), ranked=False
            ),
            "kid": Score(3.0 + i, 1.0 + i, 5.0 + i, n, n, few, ranked=False),
            "clip_desc": none,
        },
        rank=None,
        tie="",
        protocol_id="p1",
        ceiling_id=CEILING,
        seconds_per_picture=0.02 * steps * (1 if guidance == 1 else 2),
        n_evaluations=float(steps * (1 if guidance == 1 else 2)),
        device="cpu",
        n_pictures=(n, n),
    )


def _floor(n: int) -> BoardRow:
    """Real pictures against real ones at the rows' n."""
    few = f"n = {n} against 276 pictures; orders rows from 2048 on both sides"
    fid = Score(41.5, n=n, n_expected=n, reason=few, ranked=False)
    kid = Score(0.1, -1.2, 1.4, n, n, few, ranked=False)
    spec = {"generator": "real", "reference": "ab12", "size_px": 64, "n": n}
    scores = {"fid_clean": fid, "kid": kid}
    return BoardRow("f100", f"real pictures, n = {n}", spec, scores, None, "", "q1", n_pictures=(n, n))


def _sample(
    random: np.random.Generator, setting_id: str, prompt: int, skill: float, size_px: int
) -> BoardSample:
    words = [WORDS[prompt % len(WORDS)]] + ([WORDS[(prompt * 7 + 3) % len(WORDS)]] if prompt % 3 == 0 else [])
    txt = "\n".join(words)
    letters = [
        c if c == "\n" or random.random() < skill ** (1 / len(txt)) else random.choice(list("aeo0lit"))
        for c in txt
    ]
    reading = "" if random.random() < 0.04 else "".join(letters)
    picture, lines = _draw(random, reading, prompt, size_px)
    wrong = sum(a != b for a, b in zip(txt, reading.ljust(len(txt)), strict=True))
    return BoardSample(
        setting_id=setting_id,
        prompt_id=f"word-{prompt:03}",
        seed=0,
        stratum="lines-2" if len(words) > 1 else "word-1k",
        txt=txt,
        capt="white letters on a dark background" if prompt % 2 else None,
        reading=reading,
        lines=lines,
        png=picture,
        width_px=size_px,
        height_px=size_px,
        em_ci=reading == txt,
        cer=wrong / len(txt),
    )


def _draw(random: np.random.Generator, text: str, prompt: int, size_px: int) -> tuple[bytes, list[TextLine]]:
    low = random.integers(0, 90, (3, 3, 3), dtype=np.uint8) + np.uint8(20 + 110 * (prompt % 2))
    picture = Image.fromarray(low).resize((size_px, size_px), Image.Resampling.BICUBIC)
    font = ImageFont.load_default(size_px / 5)
    pen, lines = ImageDraw.Draw(picture), []
    for i, line in enumerate(text.split("\n") if text else []):
        at = (size_px * 0.12, size_px * (0.22 + 0.3 * i))
        pen.text(at, line, fill="white" if prompt % 2 == 0 else "black", font=font)
        x0, y0, x1, y1 = pen.textbbox(at, line, font=font)
        lines.append(TextLine(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), line, 0.93))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue(), lines


def _lengths(skill: float) -> list[LengthBin]:
    bins = []
    for shortest, longest in ((1, 2), (3, 4), (5, 6), (7, 8), (9, 11), (12, 15)):
        em = skill ** (shortest / 4)
        low, high = wilson(em * 20, 20)
        bins.append(LengthBin(shortest, longest, 20, em, low, high))
    return bins
