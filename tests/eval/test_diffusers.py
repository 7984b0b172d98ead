"""A real diffusers pipeline, tiny and with random weights, saved to a folder and swept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from eval_fakes import Finder, store_path
from required_tools import missing_tool

import eval.commands.jobs
from datatools.errors import InputError
from eval.commands.jobs import run_sweep
from eval.generators.diffusers import DiffusersGenerator, diffusers_settings, full_prompt
from eval.scoring.options import ScoreOptions
from eval.store import open_store
from eval.suites import SuitePrompt, cells_of, load_suite
from eval.sweep.job import DiffusersOptions, SweepJob

OPTIONS = DiffusersOptions(steps=(2, 3), guidance=(3.0,), size_px=32)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A StableDiffusionPipeline of a few thousand weights."""
    try:
        import diffusers
        import transformers
    except ImportError as error:
        missing_tool(f"the extra 'diffusers': {error}")
    import torch

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("pipeline")
    (folder / "words").mkdir()
    tokens = [
        "<|startoftext|>",
        "<|endoftext|>",
        *"abcdefghijklmnopqrstuvwxyz",
        *(f"{c}</w>" for c in "aeinorst"),
    ]
    (folder / "words" / "vocab.json").write_text(
        "{" + ", ".join(f'"{token}": {i}' for i, token in enumerate(tokens)) + "}"
    )
    (folder / "words" / "merges.txt").write_text("#version: 0.2\n")
    text = transformers.CLIPTextConfig(
        vocab_size=len(tokens), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=77, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    made: Any = diffusers.StableDiffusionPipeline(
        vae=diffusers.AutoencoderKL(
            block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, latent_channels=4,
            up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4, sample_size=32,
        ),
        text_encoder=transformers.CLIPTextModel(text),
        tokenizer=transformers.CLIPTokenizer(
            str(folder / "words" / "vocab.json"), str(folder / "words" / "merges.txt"), model_max_length=77
        ),
        unet=diffusers.UNet2DConditionModel(
            block_out_channels=(8, 16), down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=16, layers_per_block=1,
            norm_num_groups=4, sample_size=16, attention_head_dim=2,
        ),
        scheduler=diffusers.DDIMScheduler(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    made.save_pretrained(folder / "tiny")
    return folder / "tiny"


def test_a_pipeline_is_swept_like_a_cascade(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Finder()
    monkeypatch.setattr(engine, "_lines", lambda data: [])
    monkeypatch.setattr(eval.commands.jobs, "find_engine", lambda name: engine)
    job = SweepJob(diffusers=str(pipeline), pipeline=OPTIONS, limit=3, batch_size=2)
    counts = run_sweep(store_path(tmp_path), job, ["finder"], ScoreOptions())
    assert (counts.expected, counts.done) == (6, 6)
    with open_store(store_path(tmp_path)) as store:
        settings = store.rows(
            "SELECT label, spec->>'$.steps', spec->>'$.guidance' FROM settings ORDER BY position"
        )
        evaluations = store.rows("SELECT DISTINCT width_px, n_evaluations FROM samples ORDER BY 2")
        [(n_pictures,)] = store.rows("SELECT count(DISTINCT sha256) FROM samples")
    assert settings == [("tiny 2 steps s=3", "2", "3.0"), ("tiny 3 steps s=3", "3", "3.0")]
    assert evaluations == [(32, 4.0), (32, 6.0)]  # with guidance each step asks for two
    assert n_pictures == 6


def test_a_picture_depends_on_its_cell_and_setting_alone(pipeline: Path) -> None:
    suite = load_suite("smoke", 3)
    setting = diffusers_settings(str(pipeline), suite, OPTIONS)[0]
    together = DiffusersGenerator(str(pipeline), OPTIONS, "cpu", 3)
    alone = DiffusersGenerator(str(pipeline), OPTIONS, "cpu", 1)
    batch = together.make(setting, cells_of(suite))
    [one] = alone.make(setting, cells_of(suite)[2:])
    assert one.picture is not None
    assert batch[2].picture is not None
    assert np.abs(one.picture.astype(int) - batch[2].picture.astype(int)).max() <= 1


def test_the_prompt_is_the_suite_s_own_or_put_together() -> None:
    prompt = SuitePrompt("a", "words-2", "open\nlate", "a neon sign")
    assert full_prompt(prompt) == 'a neon sign, the text "open late"'
    assert full_prompt(replace(prompt, prompt="Neon that says open late")) == "Neon that says open late"


def test_a_pipeline_that_is_not_there_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "empty").mkdir()
    job = SweepJob(diffusers=str(tmp_path / "empty"), limit=1)
    with pytest.raises(InputError, match="cannot be loaded"):
        run_sweep(store_path(tmp_path), job, ["tesseract"], ScoreOptions())
    with pytest.raises(InputError, match="--base or --diffusers"):
        run_sweep(store_path(tmp_path), SweepJob(), ["tesseract"], ScoreOptions())
