"""The Inception weights: each source, each way it can be wrong, and that folding changes nothing."""

from __future__ import annotations

import copy
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

from datatools.console import messages
from datatools.errors import InputError
from datatools.home import cache_folder
from datatools.reach import unreachable
from eval.networks import inception_weights
from eval.networks.inception import Inception, build_trunk, fold_batch_norm
from eval.networks.inception_weights import InceptionWeights, find_weights


@pytest.fixture(scope="module")
def weights(inception: Inception) -> InceptionWeights:
    return find_weights()


@pytest.fixture
def no_weights_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(inception_weights.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(inception_weights, "package_file", lambda: None)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(inception_weights, "unreachable", lambda url: "no network here")


def test_folding_changes_no_feature(weights: InceptionWeights) -> None:
    plain = build_trunk().eval()
    plain.load_state_dict(weights.tensors, strict=False)
    folded = fold_batch_norm(copy.deepcopy(plain))
    pictures = torch.rand(2, 3, 299, 299) * 2 - 1
    with torch.inference_mode():
        torch.testing.assert_close(folded(pictures), plain(pictures), atol=5e-5, rtol=0)


def test_the_conversion_is_kept_in_the_cache_and_made_again_when_damaged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: InceptionWeights
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert find_weights().digest == weights.digest
    (kept,) = (tmp_path / "txtdiff").iterdir()
    damaged = bytearray(kept.read_bytes())
    damaged[-1000] ^= 1
    kept.write_bytes(damaged)
    assert find_weights().digest == weights.digest
    kept.write_bytes(kept.read_bytes()[:1000])
    assert find_weights().digest == weights.digest


@pytest.mark.parametrize("home", ["a file", "a folder that cannot be written", "none at all"])
def test_without_a_cache_the_weights_are_converted_each_time(
    home: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: InceptionWeights
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "file" if home == "a file" else tmp_path / "locked"))
    if home == "none at all":
        monkeypatch.setattr(Path, "expanduser", no_home)
    elif home != "a file":
        monkeypatch.setattr(inception_weights, "write_bytes_atomic", refuse)  # root may write anywhere
    with messages.capture() as said:
        assert find_weights().digest == weights.digest
    assert said.get().count("not kept") == (home != "none at all")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def no_home(path: Path) -> Path:
    raise RuntimeError("Could not determine home directory.")


def refuse(path: Path, data: bytes) -> None:
    raise PermissionError(13, "Permission denied", str(path))


def test_a_relative_cache_counts_as_unset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "somewhere")
    assert cache_folder() == tmp_path / ".cache" / "txtdiff"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert cache_folder() == tmp_path / "other" / "txtdiff"


@pytest.mark.usefixtures("no_weights_anywhere")
def test_a_hub_folder_that_cannot_be_made_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "file" / "hub"))
    with pytest.raises(InputError, match="no folder for the Inception weights"):
        find_weights()


def test_another_file_under_the_package_s_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "default_1.pt").write_bytes(b"something else")
    with pytest.raises(InputError, match="not the weights file"):
        inception_weights.convert_package_file(tmp_path / "default_1.pt")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_an_explicit_file_speaks_first(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: InceptionWeights
) -> None:
    other = {name: tensor * 2 for name, tensor in weights.tensors.items()}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(other, path)
    else:
        safetensors.torch.save_file(other, path)
    monkeypatch.setenv(inception_weights.ENVIRONMENT_VARIABLE, str(path))
    assert find_weights().digest == find_weights(path).digest != weights.digest


def test_a_file_that_is_something_else_is_an_input_error(tmp_path: Path) -> None:
    junk = tmp_path / "junk.pth"
    junk.write_bytes(b"junk")
    with pytest.raises(InputError, match="cannot be read as weights"):
        find_weights(junk)
    torch.save({"Conv2d_1a_3x3.conv.weight": torch.zeros(1)}, junk)
    with pytest.raises(InputError, match="holds no Inception network"):
        find_weights(junk)
    with pytest.raises(InputError, match="do not exist"):
        find_weights(tmp_path / "absent.pth")


class Bomb:
    """Unpickled by a careless reader, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return (Path.touch, (self.path,))


def test_a_pickle_bomb_does_not_go_off(tmp_path: Path) -> None:
    torch.save({"fc.weight": Bomb(tmp_path / "owned")}, tmp_path / "bomb.pth")
    with pytest.raises(InputError, match="cannot be read as weights"):
        find_weights(tmp_path / "bomb.pth")
    assert not (tmp_path / "owned").exists()


@pytest.mark.usefixtures("no_weights_anywhere")
def test_without_weights_the_error_names_what_would_provide_them() -> None:
    with pytest.raises(InputError) as caught:
        find_weights()
    assert "no network here" in caught.value.what
    for provider in ("offline", inception_weights.ENVIRONMENT_VARIABLE, "torch-fidelity"):
        assert provider in str(caught.value.remedy)


@pytest.mark.usefixtures("no_weights_anywhere")
def test_torch_fidelity_s_own_file_is_taken_from_torch_s_hub(
    tmp_path: Path, weights: InceptionWeights
) -> None:
    (tmp_path / "checkpoints").mkdir()
    torch.save(weights.tensors, tmp_path / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth")
    assert find_weights().digest == weights.digest


def test_a_host_that_is_not_there_is_told_quickly() -> None:
    start = time.monotonic()
    reason = unreachable("https://host.invalid/file", timeout_s=2)
    assert reason is not None
    assert "host.invalid" not in reason  # it is shown on pages, which hold no address
    assert time.monotonic() - start < 4
