"""CLIP score with a small CLIP made here: what is computed, what is refused, what is told without weights."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from datatools.errors import InputError
from eval import clip_score
from eval.clip_score import ClipScorer, agreement, clip_prompts, clip_scores, open_clip_scorer, shuffled_floor
from eval.networks import clip_weights
from eval.networks.attention import attend_directly
from eval.networks.clip_weights import WeightsMissing, find_clip_weights

TOWER = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
LONG = "a sign with many words " * 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as open_clip saves it, the numbers in it known (random, fixed seed)."""
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": TOWER, "preprocess_cfg": {}}))
    save_file(open_clip.CLIP(**TOWER).state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def scorer(folder: Path) -> ClipScorer:
    return open_clip_scorer(f"local-dir:{folder}", device="cpu")


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (40, 50 + i, 3), dtype=np.uint8) for i in range(5)]


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_weights.huggingface_hub, "try_to_load_from_cache", lambda repo, file: None)
    monkeypatch.setattr(clip_weights, "unreachable", lambda url, timeout_s: "no network here")


@pytest.mark.parametrize("is_masked", [False, True])
def test_attention_is_torch_s_own(is_masked: bool) -> None:
    torch.manual_seed(0)
    attention = torch.nn.MultiheadAttention(32, 4, batch_first=True).eval()
    x, other = torch.randn(2, 5, 32), torch.randn(2, 7, 32)
    mask = torch.full((5, 5), float("-inf")).triu(1) if is_masked else None
    with torch.inference_mode():
        expected, _ = attention(x, x, x, need_weights=False, attn_mask=mask)
        across, weights = attention(x, other, other)
        attend_directly(attention)
        torch.testing.assert_close(attention(x, x, x, need_weights=False, attn_mask=mask)[0], expected)
        torch.testing.assert_close(attention(x, other, other), (across, weights))


def test_scores_are_open_clip_s_cosines(scorer: ClipScorer, pictures: list[np.ndarray]) -> None:
    texts = ["sign", "a sign with several words", "", LONG, "sign"]  # padding is left out, by length
    with torch.inference_mode():
        from PIL import Image

        seen = scorer.network.encode_image(
            torch.stack([scorer.transform(Image.fromarray(p)) for p in pictures])
        )
        said = scorer.network.encode_text(open_clip.get_tokenizer("ViT-B-32")(texts))
        expected = 100 * torch.cosine_similarity(seen, said).clamp(min=0)
    np.testing.assert_allclose(clip_scores(scorer, pictures, texts), expected.numpy(), atol=1e-4)
    one_by_one = scorer.embed_pictures(pictures, batch_size=1)
    np.testing.assert_allclose(scorer.embed_pictures(pictures), one_by_one, atol=1e-5)


def test_negative_agreement_is_zero_and_nothing_is_scaled() -> None:
    ones = np.eye(3, dtype=np.float32)
    assert agreement(ones, ones).tolist() == [100, 100, 100]
    assert agreement(ones, -ones).tolist() == [0, 0, 0]


def test_long_texts_are_cut_before_the_end_token_and_counted(scorer: ClipScorer) -> None:
    ids = scorer.tokenizer([LONG])
    end = scorer.tokenizer(["a"])[0].max()
    assert ids.shape == (1, 77)
    assert ids[0, -1] == end
    exactly_77 = " ".join(["a"] * 75)
    assert scorer.count_truncated([LONG, "short", exactly_77, exactly_77 + " a", ""]) == 2


def test_the_shuffled_floor_is_the_mean_over_other_captions() -> None:
    pictures = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    texts = np.array([[1, 0], [0.6, 0.8], [1, 0]], np.float32)
    # Rows 0 and 2 share a caption, so they are no strangers to each other.
    expected = np.mean([60, 0, 0, 60])
    assert shuffled_floor(pictures, texts, ["x", "y", "x"]) == pytest.approx(expected, abs=1e-4)
    assert shuffled_floor(pictures, texts, ["x", "x", "x"]) is None


def test_description_text_and_prompt_are_kept_apart() -> None:
    assert clip_prompts("I can\nwrite", "a red sign") == {
        "clip_desc": "a red sign",
        "clip_text": 'the text "I can write"',
        "clip_full": 'a red sign, the text "I can write"',
    }
    assert clip_prompts("", None) == {"clip_desc": None, "clip_text": None, "clip_full": None}
    assert clip_prompts("a", None, "whole")["clip_full"] == "whole"


@pytest.mark.usefixtures("no_hub")
def test_without_weights_the_reason_and_the_remedy_are_told() -> None:
    with pytest.raises(WeightsMissing) as caught:
        open_clip_scorer()
    assert "laion2b_s34b_b79k" in caught.value.what
    assert "no network here" in caught.value.what
    assert "FILE" in str(caught.value.remedy)


def test_a_hub_that_never_answers_costs_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_weights.huggingface_hub, "try_to_load_from_cache", lambda repo, file: None)
    monkeypatch.setattr("datatools.reach._ask", lambda url, timeout_s: time.sleep(60))
    start = time.monotonic()
    with pytest.raises(WeightsMissing, match=r"no answer in 0\.3 s"):
        open_clip_scorer(timeout_s=0.3)
    assert time.monotonic() - start < 5


def test_cached_weights_are_used_without_asking_the_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cached = tmp_path / "open_clip_model.safetensors"
    cached.touch()
    monkeypatch.setattr(
        clip_weights.huggingface_hub, "try_to_load_from_cache", lambda repo, file: str(tmp_path / file)
    )
    monkeypatch.setattr(clip_weights, "unreachable", lambda url, timeout_s: pytest.fail("asked the network"))
    assert find_clip_weights("ViT-B-32", "laion2b_s34b_b79k").path == cached


@pytest.mark.usefixtures("no_hub")
def test_openai_s_weights_bring_their_activation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(clip_weights, "_in_hub_cache", lambda tag: tmp_path)
    assert find_clip_weights("ViT-B-32", "openai").options["force_quick_gelu"] is True
    assert find_clip_weights("ViT-B-32", "laion2b_s34b_b79k").options["force_quick_gelu"] is False


@pytest.mark.usefixtures("no_hub")
def test_an_untrained_tower_never_scores(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a file nor weights"):
        open_clip_scorer("ViT-B-32", "")
    with pytest.raises(InputError, match="no architecture 'ViT-B-33'"):
        open_clip_scorer("ViT-B-33", "openai")
    with pytest.raises(InputError, match="is no CLIP 'ViT-B-32'"):
        open_clip_scorer("ViT-B-32", str(folder / "open_clip_model.safetensors"))
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": TOWER}))
    with pytest.raises(WeightsMissing, match="no weights"):
        open_clip_scorer(f"local-dir:{tmp_path}")
    with pytest.raises(InputError, match="holds no open_clip_config"):
        open_clip_scorer(f"local-dir:{tmp_path}/none")


def test_the_identity_names_the_weights_and_no_path(scorer: ClipScorer, folder: Path) -> None:
    assert clip_weights.file_digest(folder / "open_clip_model.safetensors")[:16] in scorer.id
    assert str(folder.parent) not in scorer.id
    assert clip_score.DEFAULT_MODEL == ("ViT-B-32", "laion2b_s34b_b79k")
