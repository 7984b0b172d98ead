"""The scoring CLIP that ships with the package: small, not the models' tower, better than chance."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datatools.synth import SynthOptions, make_picture
from eval.clip_score import (
    ClipScorer,
    agreement,
    clip_prompts,
    clip_scores,
    open_clip_scorer,
    shuffled_floor,
)
from eval.generators.folder import FolderGenerator, folder_setting, load_prompts
from eval.networks.clip_weights import TINY, TINY_FOLDER
from eval.run import Plan, make_pictures, write_plan
from eval.scoring.clip import score_clip
from eval.store import open_store
from txtdiff.config_files import make_config, preset_layer, preset_names
from txtdiff.model.caption_encoder import tower_size

N = 60


@pytest.fixture(scope="module")
def tiny() -> ClipScorer:
    return open_clip_scorer(TINY, device="cpu")


def test_it_is_small_and_its_card_says_how_good_it_is() -> None:
    assert (TINY_FOLDER / "open_clip_model.safetensors").stat().st_size <= 5_000_000
    card = json.loads((TINY_FOLDER / "card.json").read_text())
    assert len(card["sets"]) == 2
    for kinds in card["sets"].values():
        low = kinds["clip_desc"]["caption to picture"]["R@1"][1]
        assert low > 5 / kinds["clip_desc"]["n"]  # far above chance, interval included
        assert kinds["clip_desc"]["own"] > kinds["clip_desc"]["others"]


def test_its_name_is_in_every_score(tiny: ClipScorer) -> None:
    card = json.loads((TINY_FOLDER / "card.json").read_text())
    assert tiny.id == card["id"]
    assert tiny.id.startswith("open_clip/txtdiff-tiny/")


@pytest.mark.parametrize("preset", preset_names())
def test_it_is_not_the_tower_that_models_are_conditioned_on(preset: str) -> None:
    """Another architecture: no state of one fits the other, so no weights can be shared."""
    captions = make_config(preset_layer(preset)).model.captions
    if captions is None:
        return  # nothing is conditioned on a caption
    theirs = tower_size(captions)
    ours = json.loads((TINY_FOLDER / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
    shape = (ours["width"], ours["layers"], ours["vocab_size"])
    assert (theirs.width, theirs.layers, theirs.vocab_size) != shape
    assert theirs.vocab_size != ours["vocab_size"]  # not even a part of one can be loaded into the other


@pytest.mark.parametrize("split", ["train", "test"])
def test_pictures_agree_with_their_own_captions_more_than_with_others(tiny: ClipScorer, split: str) -> None:
    made = [make_picture(SynthOptions(seed=4711, size_px=64, split=split), i) for i in range(N)]
    captions = [picture.captions[0] for picture in made]
    pictures = tiny.embed_pictures([picture.image for picture in made])
    texts = tiny.embed_texts(captions)
    own, floor = agreement(pictures, texts), shuffled_floor(pictures, texts, captions)
    assert floor is not None
    assert own.mean() > floor + 10
    best = (pictures @ texts.T).argmax(axis=1)
    assert np.mean([captions[i] == captions[j] for i, j in enumerate(best)]) > 10 / N


def test_long_prompts_are_cut_at_its_own_77_tokens(tiny: ClipScorer) -> None:
    assert tiny.context_length == 77
    full = clip_prompts("word " * 90, "white letters on a black background")["clip_full"]
    assert tiny.count_truncated([str(full), "white letters"]) == 1
    assert tiny.embed_texts([str(full)]).shape == (1, 128)


def test_the_prompt_of_a_prompts_file_is_what_the_whole_is_compared_with(
    tiny: ClipScorer, tmp_path: Path
) -> None:
    pixels = np.full((64, 64, 3), 200, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    row = {"file": "a.png", "txt": "word", "capt": "black letters", "prompt": "a photograph of a red kite"}
    (tmp_path / "prompts.jsonl").write_text(json.dumps(row) + "\n")
    prompts = load_prompts(tmp_path / "prompts.jsonl", tmp_path)
    setting = folder_setting(prompts, "kites")
    plan = Plan(prompts.suite, prompts.cells, [setting])
    with open_store(tmp_path / "eval.duckdb", "write") as store:
        write_plan(store, plan)
        make_pictures(store, plan, FolderGenerator(prompts))
        [(_, _, scores)] = score_clip(store, [setting.id], (TINY, ""))
    told = {"clip_desc": "black letters", "clip_text": 'the text "word"', "clip_full": row["prompt"]}
    for kind, text in told.items():
        assert scores[kind].value == pytest.approx(clip_scores(tiny, [pixels], [text])[0], abs=1e-4)
    assert len({scores[kind].value for kind in told}) == 3
