"""Checkpoints are whole or absent, say what is wrong with them, and never run code."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from datatools.errors import InputError
from txtdiff.training.checkpoint import (
    MANIFEST,
    check_free,
    find_checkpoint,
    list_checkpoints,
    newest_checkpoint,
    remove_old_checkpoints,
    sweep,
    verify_checkpoint,
    write_checkpoint,
)
from txtdiff.training.tensor_files import read_tensors, stream_tensors

FILES = {"a.safetensors": {"w": torch.arange(6.0).reshape(2, 3)}, "note.txt": "hello"}


def write(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    with path.open("wb") as file:
        stream_tensors(tensors, file.write)
    return path


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__" and name.isprintable()),
        st.tuples(
            st.sampled_from(
                [torch.float32, torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool]
            ),
            st.lists(st.integers(0, 3), max_size=3),
        ),
        max_size=5,
    )
)
def test_streamed_files_are_what_the_library_reads(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, tuple[torch.dtype, list[int]]]
) -> None:
    tensors = {name: (torch.rand(shape) * 9).to(dtype) for name, (dtype, shape) in content.items()}
    path = write(tmp_path_factory.mktemp("stream") / "x.safetensors", tensors)
    read = safetensors.torch.load_file(path)
    assert set(read) == set(tensors)
    assert all(
        torch.equal(read[name], tensors[name]) and read[name].dtype == tensors[name].dtype for name in read
    )


def test_strided_and_shared_tensors_are_written_by_value(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    read = safetensors.torch.load_file(write(tmp_path / "x", {"t": base.T, "row": base[1], "again": base}))
    assert torch.equal(read["t"], base.T) and torch.equal(read["row"], base[1])


def test_round_trip(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "run", 16, FILES)
    assert path == tmp_path / "run" / "step-16"
    assert {file.name for file in path.iterdir()} == {"a.safetensors", "note.txt", MANIFEST}
    verify_checkpoint(path)
    into = {"w": torch.zeros(2, 3)}
    read_tensors(path / "a.safetensors", into)
    assert torch.equal(into["w"], FILES["a.safetensors"]["w"])
    assert not list((tmp_path / "run").glob(".*"))


def test_the_newest_valid_one_is_found(tmp_path: Path) -> None:
    for images in (8, 16, 100):
        write_checkpoint(tmp_path, images, FILES)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-8", "step-16", "step-100"]
    assert find_checkpoint(tmp_path) == tmp_path / "step-100"
    (tmp_path / "step-100" / "note.txt").write_text("hullo")  # same size, other content
    assert newest_checkpoint(tmp_path) == tmp_path / "step-16"
    (tmp_path / "step-16" / MANIFEST).unlink()
    assert find_checkpoint(tmp_path) == tmp_path / "step-8"
    with pytest.raises(InputError, match=r"note\.txt is not what the manifest says"):
        find_checkpoint(tmp_path / "step-100")


def test_a_damaged_one_of_the_same_count_is_replaced(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, 8, FILES)
    (path / "note.txt").write_text("")
    write_checkpoint(tmp_path, 8, FILES)
    verify_checkpoint(path)
    assert not list(tmp_path.glob(".*"))


def test_a_whole_one_of_the_same_count_stays(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, 8, FILES)
    with pytest.raises(InputError, match="step-8 is there already, and whole"):
        write_checkpoint(tmp_path, 8, {"note.txt": "another"})
    verify_checkpoint(path)
    assert (path / "note.txt").read_text() == "hello" and not list(tmp_path.glob(".*"))
    with pytest.raises(InputError, match="is there already"):
        check_free(path)
    write_checkpoint(tmp_path, 8, {"note.txt": "another"}, replace=True)
    assert (path / "note.txt").read_text() == "another" and not list(tmp_path.glob(".*"))
    (path / "note.txt").write_text("damaged")
    check_free(path)
    check_free(tmp_path / "step-9")


def test_content_is_compared_where_it_will_be_read(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, 8, FILES)
    (path / "note.txt").write_text("hullo")  # same size
    assert find_checkpoint(tmp_path, ["a.safetensors"]) == path
    with pytest.raises(InputError, match=r"note\.txt is not what the manifest says"):
        find_checkpoint(path, ["note.txt"])
    (path / "note.txt").write_text("more")
    with pytest.raises(InputError, match="holds no valid checkpoint"):
        find_checkpoint(tmp_path, ["a.safetensors"])


def test_old_ones_are_removed_and_leftovers_swept(tmp_path: Path) -> None:
    for images in (8, 16, 24):
        write_checkpoint(tmp_path, images, FILES)
    remove_old_checkpoints(tmp_path / "step-24", keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-16", "step-24"]
    for name in (".tmp-step-32-99", ".old-step-8-99", ".keep-step-8-99", ".mine"):
        (tmp_path / name).mkdir()
    sweep(tmp_path)
    assert {path.name for path in tmp_path.glob(".*")} == {".keep-step-8-99", ".mine"}


@pytest.mark.parametrize(
    "manifest",
    [
        "",
        "[]",
        "{}",
        '{"format": 2, "files": {}}',
        '{"format": 1, "files": {"../evil": {"sha256": "%s", "size_bytes": 1}}}' % ("0" * 64),
        '{"format": 1, "files": {"a": {"sha256": "xyz", "size_bytes": 1}}}',
        '{"format": 1, "files": {"a": {"sha256": "%s", "size_bytes": "1"}}}' % ("0" * 64),
        "[" * 100_000,
        " " * 2_000_000,
    ],
)
def test_hostile_manifests_are_refused(tmp_path: Path, manifest: str) -> None:
    path = write_checkpoint(tmp_path, 8, FILES)
    (path / MANIFEST).write_text(manifest)
    with pytest.raises(InputError):
        verify_checkpoint(path)


def test_a_symlink_is_no_file_of_a_checkpoint(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, 8, FILES)
    (path / "note.txt").rename(tmp_path / "elsewhere")
    (path / "note.txt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="missing"):
        verify_checkpoint(path)


def header_of(text: str, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text.encode() + data


HUGE = json.dumps({"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}})
OVERLAP = json.dumps({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 12]}})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 64,
        struct.pack("<Q", 2**62) + b"{}",
        header_of(HUGE),
        header_of(OVERLAP, b"\0" * 12),
        header_of("[" * 50_000),
        pickle.dumps({"w": 1}),
    ],
    ids=["empty", "noise", "long header", "huge shape", "size lie", "nesting", "pickle"],
)
def test_hostile_tensor_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_tensors(path, {"w": torch.zeros(2, 3)})


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x", {"w": torch.zeros(2, 2), "more": torch.zeros(1)})
    with pytest.raises(InputError) as caught:
        read_tensors(path, {"w": torch.zeros(2, 3), "b": torch.zeros(1)})
    for part in ("b: missing", "more: unknown", "w: [2, 2] in the file, [2, 3] in the network"):
        assert part in caught.value.what
