"""Write the tables of the mini cascade's report from the store that report.sh fills.

    python recipes/mini/report.py runs/report docs/mini-report.md

Each table of the page stands between `<!-- NAME -->` and `<!-- end -->`, and is replaced; what is written
around it stays. The wall of pictures goes beside the page, into images/.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from PIL import Image, ImageDraw, ImageFont

from datatools.atomic import write_text_atomic
from datatools.console import run_app
from eval.statistics import mcnemar_midp, wilson
from eval.store import Store, open_store
from eval.text_metrics import cer

BASE = "base ddim:10 s=4/1.5"
RECOMMENDED = "cascade ddim:10 s=4/1.5 upsampler-consistency=0.5"
CEILING = "ceiling 128 px"  # what the reader reads of the same texts typeset: txtdiff-eval calibrate
READER = "rapidocr"
GROUPS = {
    "unseen words of 3 and 4 letters": ("word-3-4",),
    "seen words of 3 and 4 letters": ("seen-3-4",),
    "unseen orders of 3 and 4 letters": ("letters-3-4",),
    "unseen words of 5 to 8 letters": ("word-5-8",),
    "seen words of 5 to 8 letters": ("seen-5-8",),
}
UNSEEN_WORDS = ("word-3-4", "word-5-8")
N_WALL, WALL_COLUMNS, TILE_PX, LABEL_PX = 48, 8, 128, 18

HERE = Path(__file__).parent
READINGS, SCORES = HERE / "report-readings.csv", HERE / "report-scores.csv"

_SETTING = """
    CASE s.spec->>'generator' WHEN 'typeset' THEN s.label
    WHEN 'real' THEN format('real pictures, {} px, n = {}', s.spec->>'size_px', s.spec->>'n')
    ELSE if((s.spec->>'upsamplers') = '[]', 'base ', 'cascade ') || s.label END AS setting"""
PICTURES_SQL = f"""
SELECT {_SETTING}, r.name AS reader, t.prompt_id, t.reading, t.em_ci::INT AS em, a.sha256
FROM text_scores t JOIN settings s USING (setting_id) JOIN samples a USING (setting_id, prompt_id, seed)
    JOIN protocols USING (protocol_id) JOIN readers r USING (reader_id)
WHERE (s.spec->>'generator') = 'txtdiff' OR s.label = $ceiling
ORDER BY s.position, r.name, t.prompt_id, t.seed
"""
SCORES_SQL = f"""
WITH known AS (
    SELECT {_SETTING}, metric, any_value(value) AS value, any_value(high - low) / 2 AS error
    FROM scores JOIN settings s USING (setting_id)
    WHERE metric IN ('clip_desc', 'kid', 'fid_clean') AND value IS NOT NULL
        AND (s.spec->>'generator') IN ('txtdiff', 'real')
    GROUP BY ALL
)
SELECT setting, metric, round(value, 4) AS value FROM known
UNION ALL
SELECT setting, 'kid_error', round(error, 4) FROM known WHERE metric = 'kid'
UNION ALL
SELECT {_SETTING}, 'passes', avg(n_evaluations) FROM samples JOIN settings s USING (setting_id)
WHERE (s.spec->>'generator') = 'txtdiff' GROUP BY ALL
UNION ALL
SELECT {_SETTING}, 'seconds', round(avg(seconds), 4) FROM samples JOIN settings s USING (setting_id)
WHERE (s.spec->>'generator') = 'txtdiff' GROUP BY ALL
ORDER BY ALL
"""


def main(
    folder: Annotated[Path, typer.Argument(help="What report.sh filled.")],
    page: Annotated[Path, typer.Argument(help="The page whose tables are written anew.")],
) -> None:
    """Take readings and scores out of the store, into files beside this one, and write the tables anew."""
    with open_store(folder / "report.duckdb", "read") as store:
        pictures = store.frame(PICTURES_SQL, {"ceiling": CEILING})
        store.frame(SCORES_SQL).to_csv(SCORES, index=False)
        pictures.drop(columns="sha256").to_csv(READINGS, index=False)
        wall(store, with_prompts(pictures)).quantize(128).save(page.parent / "images" / "mini-wall.png")
    text = page.read_text("utf-8")
    for name, rows in tables().items():
        before, _, rest = text.partition(f"<!-- {name} -->\n")
        text = f"{before}<!-- {name} -->\n{rows}\n<!-- end -->{rest.partition('<!-- end -->')[2]}"
    write_text_atomic(page, text)


def tables() -> dict[str, str]:
    """The page's tables by name, from the two files."""
    pictures = with_prompts(pd.read_csv(READINGS, keep_default_na=False))
    return {
        "board": board(pictures, pd.read_csv(SCORES)),
        "kinds": by_group(pictures),
        "lengths": by_length(pictures),
        "readers": by_reader(pictures),
    }


def with_prompts(pictures: pd.DataFrame) -> pd.DataFrame:
    """Each picture with what was asked for, and the share of its letters that are right."""
    prompts = pd.read_json(HERE / "report.jsonl", lines=True, dtype=False).dropna(subset="id")
    prompts = prompts.assign(position=range(len(prompts)), n_letters=prompts.txt.str.len())
    joined = pictures.merge(
        prompts.rename(columns={"id": "prompt_id"}), on="prompt_id", validate="many_to_one"
    )
    wrong = [min(1.0, cer(txt, reading)) for txt, reading in zip(joined.txt, joined.reading, strict=True)]
    return joined.assign(letters=[1 - part for part in wrong])


def board(pictures: pd.DataFrame, scores: pd.DataFrame) -> str:
    """A row per setting, the best of the unseen words first."""
    read = pictures[pictures.reader == READER]
    best = of(read, BASE, UNSEEN_WORDS)
    rows = []
    for label in read.setting[read.setting != CEILING].unique():
        own = read[read.setting == label]
        words = of(own, label, UNSEEN_WORDS)
        won, lost = won_and_lost(words, best)
        against = "" if label == BASE else f"+{won} -{lost}, p {mcnemar_midp(won, lost):.2g}"
        marks = scores[scores.setting == label].set_index("metric").value
        cells = [
            label, f"{marks['passes']:.0f}", f"{marks['seconds']:.2f}",
            *(share(of(own, label, strata)) for strata in (("word-3-4",), ("word-5-8",), ("letters-3-4",))),
            against, f"{marks['clip_desc']:.1f}", *fidelity(marks),
        ]  # fmt: skip
        rows.append((words.em.mean(), cells))
    head = [
        "setting", "passes", "s a picture", "unseen words, 3-4 letters", "5-8 letters", "orders, 3-4",
        "words won and lost against the base, recommended", "CLIP", "KID", "FID, biased",
    ]  # fmt: skip
    ranked = [cells for _, cells in sorted(rows, key=lambda row: -row[0])]
    for label in scores.setting[scores.setting.str.startswith("real")].unique():
        marks = scores[scores.setting == label].set_index("metric").value
        ranked.append([label, *[""] * (len(head) - 3), *fidelity(marks)])
    return table(head, ranked)


def fidelity(marks: pd.Series) -> list[str]:
    """KID with the half-width of its interval, and FID; nothing where they were not measured."""
    if "kid" not in marks:
        return ["", ""]
    return [f"{marks['kid']:.1f} ± {marks['kid_error']:.1f}", f"{marks['fid_clean']:.0f}"]


def by_group(pictures: pd.DataFrame) -> str:
    """Seen and unseen, at both sizes; the upsampler against the base picture that it enlarged."""
    read = pictures[pictures.reader == READER]
    rows = []
    for name, strata in GROUPS.items():
        small, large = (of(read, label, strata) for label in (BASE, RECOMMENDED))
        ceiling = percent(of(read, CEILING, strata).em.mean())
        rows.append([name, str(len(large)), share(small), share(large), upsampling(large, small), ceiling])
    small, large = (of(read, label, ("blank",)) for label in (BASE, RECOMMENDED))
    rows.append(
        [
            "empty text: something read",
            str(len(large)),
            share(small, wrong=True),
            share(large, wrong=True),
            "",
            "",
        ]
    )
    return table(
        ["exact match", "n", "base, 32 px", "cascade, 128 px", "upsampling", "reader's ceiling"], rows
    )


def by_length(pictures: pd.DataFrame) -> str:
    """Unseen words by their number of letters, and the mean over lengths."""
    read = pictures[pictures.reader == READER]
    small, large, typeset = (of(read, label, UNSEEN_WORDS) for label in (BASE, RECOMMENDED, CEILING))
    rows = []
    for n_letters, own in large.groupby("n_letters"):
        other = small[small.n_letters == n_letters]
        ceiling = typeset[typeset.n_letters == n_letters].em.mean()
        cells = [str(n_letters), str(len(own)), share(other), share(own)]
        rows.append([*cells, percent(own.letters.mean()), percent(ceiling)])
    small_em, large_em, ceiling_em = (
        percent(part.groupby("n_letters").em.mean().mean()) for part in (small, large, typeset)
    )
    letters = percent(large.groupby("n_letters").letters.mean().mean())
    rows.append(["each length alike", str(len(large)), small_em, large_em, letters, ceiling_em])
    return table(
        ["letters", "n", "base, 32 px", "cascade, 128 px", "letters right, cascade", "reader's ceiling"], rows
    )


def by_reader(pictures: pd.DataFrame) -> str:
    """The recommended setting as each reader sees it, against the base picture that was enlarged."""
    readers = sorted(pictures.reader.unique())
    groups = GROUPS | {"all of these": tuple(kind for kinds in GROUPS.values() for kind in kinds)}
    rows = []
    for name, strata in groups.items():
        read = {reader: pictures[pictures.reader == reader] for reader in readers}
        large = [of(own, RECOMMENDED, strata) for own in read.values()]
        small = [of(own, BASE, strata) for own in read.values()]
        cells = [name, str(len(large[0]))]
        for one, other in zip(small, large, strict=True):
            cells += [percent(one.em.mean()), percent(other.em.mean()), upsampling(other, one)]
        agreeing = large[0].reading.str.upper() == large[-1].reading.str.upper()
        rows.append([*cells, percent(agreeing.mean())])
    heads = [f"{reader}: {what}" for reader in readers for what in ("base", "cascade", "upsampling")]
    return table(["exact match", "n", *heads, "cascade: both read the same"], rows)


def upsampling(large: pd.DataFrame, small: pd.DataFrame) -> str:
    won, lost = won_and_lost(large, small)
    return f"{won} won, {lost} lost, p {mcnemar_midp(won, lost):.2g}"


def of(pictures: pd.DataFrame, label: str, strata: tuple[str, ...]) -> pd.DataFrame:
    """The pictures of a setting for some kinds of text, by prompt."""
    chosen = pictures[(pictures.setting == label) & pictures.stratum.isin(strata)]
    return chosen.set_index("prompt_id").sort_index()


def won_and_lost(mine: pd.DataFrame, other: pd.DataFrame) -> tuple[int, int]:
    """How many prompts only this one has right, and how many only the other."""
    difference = mine.em - other.em
    return int((difference > 0).sum()), int((difference < 0).sum())


def share(part: pd.DataFrame, wrong: bool = False) -> str:
    """Exact match with Wilson's interval."""
    n_true = int((1 - part.em).sum() if wrong else part.em.sum())
    low, high = wilson(n_true, len(part))
    return f"{percent(n_true / len(part))} [{100 * low:.1f} {100 * high:.1f}]"


def percent(value: float) -> str:
    """A share in per cent, or nothing where there is none."""
    return "" if pd.isna(value) else f"{100 * value:.1f} %"


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])


def wall(store: Store, pictures: pd.DataFrame) -> Image.Image:
    """The suite's first prompts with text: under each what was asked for, and what was read if not that."""
    own = pictures[(pictures.setting == RECOMMENDED) & (pictures.reader == READER) & (pictures.txt != "")]
    own = own.sort_values("position").head(N_WALL)
    height_px = TILE_PX + LABEL_PX
    sheet = Image.new("RGB", (WALL_COLUMNS * TILE_PX, -(-len(own) // WALL_COLUMNS) * height_px), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for i, (txt, reading, em, sha256) in enumerate(
        own[["txt", "reading", "em", "sha256"]].itertuples(index=False)
    ):
        x, y = i % WALL_COLUMNS * TILE_PX, i // WALL_COLUMNS * height_px
        with Image.open(store.picture_path(sha256)) as image:
            sheet.paste(image, (x, y))
        wrong = "" if em else f": {reading or 'nothing'}"
        draw.text(
            (x + 3, y + TILE_PX),
            f"{txt}{wrong}",
            fill="black" if em else "#b00020",
            font=font,
        )
    return sheet


if __name__ == "__main__":
    app = typer.Typer(add_completion=False)
    app.command()(main)
    run_app(app)
