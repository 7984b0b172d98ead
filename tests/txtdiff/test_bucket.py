"""Checkpoints in a bucket: copied there, found there, gone on from there, from the command line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from PIL import Image
from tiny import TINY, tiny_catalog, tiny_config

from datatools.errors import InputError
from txtdiff.cli import main
from txtdiff.config import RunConfig
from txtdiff.config_files import config_to_toml, make_config
from txtdiff.training.bucket import check_upload, fetch_checkpoint, fetch_newer, upload
from txtdiff.training.checkpoint import (
    find_checkpoint,
    list_checkpoints,
    newest_checkpoint,
)
from txtdiff.training.trainer import train
from txtdiff.training.weights import load_network

Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """The command `txtdiff`, its exit status."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def command(*words: object) -> int:
        monkeypatch.setattr("sys.argv", ["txtdiff", *map(str, words)])
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    return command


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """A settings file of the smallest run, which keeps an average for later."""
    averaging = {"averaging": {"lengths": [0.1], "snapshot_every_images": 16}}
    config: RunConfig = make_config(TINY, averaging, {"run": {"log_every_images": 4}})
    path = tmp_path / "tiny.toml"
    path.write_text(config_to_toml(config))
    return path


def _bytes(run_dir: Path, step: str) -> dict[str, bytes]:
    """Everything a run left that does not name its bucket, its clock or how long it was to be."""
    paths = [*(run_dir / step).glob("*.safetensors"), run_dir / "metrics.jsonl", *run_dir.glob("profiles/*")]
    return {
        str(path.relative_to(run_dir)): path.read_bytes() for path in [*paths, run_dir / step / "state.json"]
    }


def test_a_run_goes_on_from_a_bucket_on_another_machine(
    run: Run,
    settings: Path,
    tmp_path: Path,
    s3: fsspec.AbstractFileSystem,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The machine is lost with its disk; on another one the same command ends with the same bytes."""
    s3.mkdir("runs")
    url = "s3://runs/mini/base"
    catalog = tiny_catalog(tmp_path)
    line = ("train", settings, "--catalog", catalog)
    assert run(*line, "--out", tmp_path / "unbroken", "--images", 48) == 0
    bucket = ("--set", f"run.upload={url}", "--set", "run.save_every_images=16")
    assert run(*line, *bucket, "--out", tmp_path / "lost", "--images", 32) == 0
    shutil.rmtree(tmp_path / "lost")
    capsys.readouterr()
    assert run(*line, *bucket, "--out", tmp_path / "run", "--images", 48) == 0
    assert f"step-32 was fetched from {url}" in capsys.readouterr().err
    expected = _bytes(tmp_path / "unbroken", "step-48")
    assert any(name.startswith("profiles/") for name in expected)
    assert _bytes(tmp_path / "run", "step-48") == expected
    assert run("info", url) == 0
    assert "base model, 16 px" in capsys.readouterr().out
    started = ("--init", f"{url}/step-32", "--out", tmp_path / "tuned", "--images", 4, "--catalog", catalog)
    assert run("train", *started, "--set", "run.grid_pictures=0") == 0
    sampled = ("--txt", "hi", "--n", 1, "--sampler", "ddim:2", "--out", tmp_path / "samples")
    assert run("sample", "--base", url, *sampled) == 0
    assert (tmp_path / "samples" / "grid.png").exists()


def test_an_upsampler_is_sampled_and_given_away_from_a_bucket(
    run: Run, copied: tuple[Path, str], tmp_path: Path
) -> None:
    sizes = ("model.attention.resolutions_px=16", "model.text.attention.resolutions_px=16")
    enlarging = ("model.image_size_px=32", *sizes, "model.upsampler.small_size_px=16", "run.images=4")
    train(tiny_config(tiny_catalog(tmp_path), *enlarging), tmp_path / "upsampler")
    assert upload(tmp_path / "upsampler" / "step-4", f"file://{tmp_path}/large")
    stages = ("--base", copied[1], "--upsampler", f"file://{tmp_path}/large")
    sampled = ("--txt", "hi", "--n", 1, "--sampler", "ddim:2")
    assert run("sample", *stages, *sampled, "--out", tmp_path / "samples") == 0
    with Image.open(tmp_path / "samples" / "00000.png") as picture:
        assert picture.size == (32, 32)
    assert run("export", f"file://{tmp_path}/large", "--out", tmp_path / "given") == 0
    assert load_network(tmp_path / "given")[0].config.upsampler is not None


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with three checkpoints."""
    folder = tmp_path_factory.mktemp("original")
    config = tiny_config(tiny_catalog(folder), "run.images=12", "run.save_every_images=4")
    train(config, folder / "run")
    return folder / "run"


@pytest.fixture
def copied(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """It, and copies of its checkpoints in a folder that stands for a bucket."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    url = f"file://{tmp_path}/bucket"
    shutil.copytree(original, tmp_path / "run")
    assert all(upload(path, url) for path in list_checkpoints(tmp_path / "run"))
    return tmp_path / "run", url


def test_the_newest_whole_one_of_a_bucket_is_taken(
    copied: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir, url = copied
    bucket, other = tmp_path / "bucket", tmp_path / "other"
    assert fetch_newer(url, run_dir, run_dir / "step-12") is None  # nothing newer
    (bucket / "step-12" / "manifest.json").unlink()  # cut short
    (bucket / "step-8" / "model.safetensors").write_bytes(b"damaged")
    assert fetch_newer(url, other, None) == other / "step-4"
    assert "step-8/model.safetensors is not what the manifest says" in capsys.readouterr().err
    assert newest_checkpoint(other) == other / "step-4" and not list(other.glob(".tmp*"))
    assert upload(run_dir / "step-12", url)
    assert fetch_newer(url, other, other / "step-4") == other / "step-12"


def test_a_checkpoint_is_there_only_with_what_goes_with_it(
    copied: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Were it there before its log, the next start would find it, and never ask for the log again."""
    run_dir, url = copied
    other, read = tmp_path / "other", LocalFileSystem.cat_file

    def lost(store: LocalFileSystem, path: str, **options: Any) -> Any:
        if path.endswith("metrics.jsonl"):
            raise OSError("connection lost")
        return read(store, path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(LocalFileSystem, "cat_file", lost)
        with pytest.raises(InputError, match="connection lost"):
            fetch_newer(url, other, None)
        assert fetch_newer(url, other, Path("step-4")) is None
    assert "nothing was fetched" in capsys.readouterr().err
    assert not list_checkpoints(other) and not list(other.glob(".*"))
    assert fetch_newer(url, other, None) == other / "step-12"
    assert (other / "metrics.jsonl").read_bytes() == (run_dir / "metrics.jsonl").read_bytes()


def test_a_copy_is_kept_until_the_original_changes(
    copied: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, url = copied
    found = find_checkpoint(Path(url))  # as an option of type Path has it, with one slash
    assert found.name == "step-12" and tmp_path / "cache" in found.parents
    before = (found / "model.safetensors").stat().st_ino
    assert (fetch_checkpoint(url) / "model.safetensors").stat().st_ino == before
    shutil.rmtree(tmp_path / "bucket" / "step-12")
    shutil.copytree(tmp_path / "bucket" / "step-8", tmp_path / "bucket" / "step-12")
    assert (fetch_checkpoint(url) / "state.json").read_text() != (
        tmp_path / "run" / "step-12" / "state.json"
    ).read_text()
    with pytest.raises(InputError, match="no whole checkpoint at"):
        fetch_checkpoint(f"{url}/nothing")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", "run.upload=nowhere://x", "--out", "run"), "nowhere://x cannot be read"),
        (("--out", "s3://bucket/run"), "is no folder of this machine"),
        (("--init", "nowhere://x/run", "--out", "run"), "nowhere://x/run cannot be read"),
    ],
)
def test_what_cannot_be_reached_is_said_at_once(
    words: tuple[str, ...],
    said: str,
    run: Run,
    settings: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("train", settings, "--catalog", tiny_catalog(tmp_path), "--images", 4, *words) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not Path("s3:").exists()


def test_a_run_with_a_checkpoint_goes_on_without_its_bucket(
    copied: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir, _ = copied
    assert fetch_newer("nowhere://x", run_dir, run_dir / "step-12") is None
    assert "nothing was fetched" in capsys.readouterr().err
    with pytest.raises(InputError, match="cannot be read"):
        fetch_newer("nowhere://x", run_dir, None)


def test_file_names_of_a_stranger_stay_inside(copied: tuple[Path, str], tmp_path: Path) -> None:
    """A manifest that names a file elsewhere is refused before anything is fetched."""
    manifest = tmp_path / "bucket" / "step-12" / "manifest.json"
    manifest.write_text(manifest.read_text().replace("model.safetensors", "../../outside"))
    fsspec.filesystem("file").pipe(str(tmp_path / "bucket" / "outside"), b"x")
    with pytest.raises(InputError, match="manifest"):
        fetch_checkpoint(f"{copied[1]}/step-12")
    assert not list((tmp_path / "cache").rglob("outside"))


def test_a_run_is_not_copied_into_itself(tmp_path: Path) -> None:
    """A copy begins by removing the manifest that lies there: here the checkpoint's own."""
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    for url in (f"file://{tmp_path}/run", f"{tmp_path}/run/", f"file://{tmp_path}/link"):
        with pytest.raises(InputError, match="is the run directory itself"):
            check_upload(url, tmp_path / "run")
    check_upload(f"file://{tmp_path}/bucket", tmp_path / "run")
    check_upload("nowhere://x", tmp_path / "run")
