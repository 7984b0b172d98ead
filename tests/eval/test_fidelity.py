"""FID and KID against the libraries whose numbers they claim to be, and against what is known on paper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from datatools.errors import InputError
from eval import fidelity
from eval.fidelity.features import prepare
from eval.networks.inception import Inception
from eval.networks.inception_weights import find_weights, package_file

N_PICTURES = 24


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two folders of smooth random pictures: 64 px and smoother, 96 px and rougher."""
    root = tmp_path_factory.mktemp("fidelity")
    random = np.random.default_rng(0)
    for name, coarse_px, size_px in (("a", 4, 64), ("b", 12, 96)):
        (root / name).mkdir()
        for i in range(N_PICTURES):
            coarse = Image.fromarray(random.integers(0, 256, (coarse_px, coarse_px, 3), dtype=np.uint8))
            coarse.resize((size_px, size_px), Image.Resampling.BICUBIC).save(root / name / f"{i:02}.png")
    return root / "a", root / "b"


def clean_fid_network() -> torch.nn.Module:
    """clean-fid's own wrapper around the TorchScript network of the weights package: its download is a mirror
    of the same graph."""
    from cleanfid.inception_torchscript import InceptionV3W

    class Local(InceptionV3W):  # type: ignore[misc]
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.base = torch.jit.load(str(package_file())).net.eval()
            self.layers = self.base.layers
            self.resize_inside = False

    return Local()


def torch_fidelity_weights(path: Path) -> Path:
    """Our tensors as the file torch-fidelity loads: with an (unused) classifier and batch counters."""
    tensors = dict(find_weights().tensors)
    counters = {
        k.replace("running_mean", "num_batches_tracked"): torch.tensor(0) for k in tensors if "mean" in k
    }
    classifier = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    torch.save(tensors | counters | classifier, path)
    return path


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_clean_is_clean_fid(
    folders: tuple[Path, Path], inception: Inception, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cleanfid import fid as cleanfid

    # clean-fid 0.1.35 asks for (root, error); SciPy 1.18 gives the root alone and takes no `disp`.
    sqrtm = scipy.linalg.sqrtm
    monkeypatch.setattr(cleanfid.linalg, "sqrtm", lambda matrix, disp: (sqrtm(matrix), None))
    network = clean_fid_network()
    theirs = [
        cleanfid.get_folder_features(
            str(folder), network, num_workers=0, device="cpu", mode="clean", verbose=False
        )
        for folder in folders
    ]
    # The distance knows no basis, and sqrtm takes a quarter of a minute for 2048 x 2048: in that of the
    # pictures' own span it takes a moment, and gives the same to ten digits.
    basis, _ = np.linalg.qr(np.concatenate(theirs).T.astype(np.float64))
    assert fidelity.fid(*folders, network=inception) == pytest.approx(
        cleanfid.fid_from_feats(*(features @ basis for features in theirs)), abs=1e-4
    )
    assert fidelity.kid(*folders, network=inception).mean == pytest.approx(
        cleanfid.kernel_distance(*theirs, num_subsets=2), abs=1e-6
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_tf_is_torch_fidelity(folders: tuple[Path, Path], inception: Inception, tmp_path: Path) -> None:
    import torch_fidelity

    theirs = torch_fidelity.calculate_metrics(
        input1=str(folders[0]),
        input2=str(folders[1]),
        fid=True,
        kid=True,
        kid_subset_size=N_PICTURES - 4,
        kid_subsets=10,
        cuda=False,
        verbose=False,
        feature_extractor_weights_path=str(torch_fidelity_weights(tmp_path / "weights.pth")),
    )
    features = [
        fidelity.extract_features(read_folder(folder), "tf", network=inception, batch_size=5)
        for folder in folders
    ]
    assert fidelity.frechet_distance(*features) == pytest.approx(
        theirs["frechet_inception_distance"], abs=1e-3
    )
    ours = fidelity.kernel_distance(*features, subset_size=N_PICTURES - 4, n_subsets=10)
    assert ours.mean == pytest.approx(theirs["kernel_inception_distance_mean"], abs=1e-5)


@pytest.fixture(scope="module")
def odd_folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two folders with one file of every kind: odd sizes, grey, alpha, palettes, JPEG, CMYK, orientation."""
    root = tmp_path_factory.mktemp("odd")
    for seed, name in enumerate(("a", "b")):
        (root / name).mkdir()
        for i, (mode, suffix, options) in enumerate(ODD_FILES):
            random = np.random.default_rng([seed, i])
            coarse = Image.fromarray(random.integers(0, 256, (5, 7, 3), dtype=np.uint8))
            size = int(random.integers(3, 400)), int(random.integers(3, 400))
            picture = coarse.resize(size, Image.Resampling.BICUBIC)
            if "A" in mode:
                picture.putalpha(Image.fromarray(random.integers(0, 256, size[::-1], dtype=np.uint8)))
            picture.convert(mode).save(root / name / f"{i:02}{suffix}", **options)
    return root / "a", root / "b"


def orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


ODD_FILES: list[tuple[str, str, dict[str, object]]] = [
    ("RGB", ".png", {}),
    ("L", ".png", {}),
    ("LA", ".png", {}),
    ("RGBA", ".png", {}),
    ("P", ".png", {}),
    ("P", ".PNG", {"transparency": 3}),
    ("1", ".png", {}),
    ("RGB", ".jpg", {"quality": 60}),
    ("RGB", ".jpeg", {"exif": orientation(6)}),
    ("L", ".jpg", {}),
    ("CMYK", ".jpg", {}),
    ("RGB", ".bmp", {}),
    ("RGBA", ".webp", {}),
    ("RGB", ".tif", {}),
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_files_of_every_kind_are_read_as_both_libraries_read_them(
    odd_folders: tuple[Path, Path], inception: Inception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import torch_fidelity
    from cleanfid import fid as cleanfid

    network = clean_fid_network()
    theirs = [
        cleanfid.get_folder_features(
            str(folder), network, num_workers=0, device="cpu", mode="clean", verbose=False
        )
        for folder in odd_folders
    ]
    assert fidelity.frechet_distance(*theirs) == pytest.approx(
        fidelity.fid(*odd_folders, network=inception), abs=1e-4
    )
    found = torch_fidelity.calculate_metrics(
        input1=str(odd_folders[0]),
        input2=str(odd_folders[1]),
        fid=True,
        cuda=False,
        batch_size=1,
        verbose=False,
        samples_find_ext="png,PNG,jpg,jpeg,bmp,webp,tif",
        feature_extractor_weights_path=str(torch_fidelity_weights(tmp_path / "weights.pth")),
    )
    ours = fidelity.fid(*odd_folders, mode="tf", network=inception)
    assert ours == pytest.approx(found["frechet_inception_distance"], abs=1e-3)


def test_more_than_eight_bits_are_refused_with_the_reason(
    odd_folders: tuple[Path, Path], inception: Inception, tmp_path: Path
) -> None:
    for i in range(2):
        Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(tmp_path / f"{i}.png")
    with pytest.raises(InputError, match="more than 8 bits a channel") as caught:
        fidelity.fid(tmp_path, odd_folders[0], network=inception)
    assert "8-bit PNG" in str(caught.value.remedy)


def read_folder(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]


def test_clean_resize_is_clean_fid_s_bit_for_bit() -> None:
    from cleanfid.resize import build_resizer

    picture = np.random.default_rng(1).integers(0, 256, (37, 301, 3), dtype=np.uint8)
    assert np.array_equal(prepare(picture, "clean").numpy(), build_resizer("clean")(picture))


def test_features_do_not_depend_on_the_batch_and_keep_their_order(inception: Inception) -> None:
    random = np.random.default_rng(2)
    pictures = [random.integers(0, 256, (40 + i, 50, 3), dtype=np.uint8) for i in range(5)]
    done: list[int] = []
    whole = fidelity.extract_features(
        pictures, progress=lambda n=1, note="": done.append(n), network=inception
    )
    singles = [fidelity.extract_features([p], network=inception, batch_size=1)[0] for p in pictures]
    assert whole.shape == (5, 2048)
    assert whole.dtype == np.float32
    assert sum(done) == 5
    np.testing.assert_allclose(whole, singles, atol=2e-5)


@given(seed=st.integers(0, 2**31), n=st.integers(3, 60), m=st.integers(3, 60), width=st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_frechet_equals_the_textbook_formula(seed: int, n: int, m: int, width: int) -> None:
    random = np.random.default_rng(seed)
    a = random.normal(size=(n, width)) @ random.normal(size=(width, width))
    b = random.normal(size=(m, width)) + random.normal(size=width)
    cov_a, cov_b = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    eigenvalues = np.linalg.eigvals(cov_a @ cov_b).astype(complex)
    mean_gap = np.square(a.mean(0) - b.mean(0)).sum()
    expected = mean_gap + np.trace(cov_a) + np.trace(cov_b) - 2 * np.sqrt(eigenvalues).real.sum()
    assert fidelity.frechet_distance(a, b) == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert fidelity.frechet_distance(b, a) == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert fidelity.frechet_distance(a, a) == pytest.approx(0, abs=1e-8 * max(1, np.trace(cov_a)))


def test_kernel_distance_is_unbiased_and_its_error_is_the_true_one() -> None:
    """Over repeated draws: the mean distance of equal distributions is zero, and the stated standard error is
    the spread of the estimates, whether one subset holds all rows or a hundred overlap."""
    random = np.random.default_rng(3)
    for subset_size, shift in ((1000, 0.5), (40, 0.5), (1000, 0.0)):
        draws = [
            fidelity.kernel_distance(
                random.normal(size=(80, 8)), random.normal(size=(80, 8)) + shift, subset_size=subset_size
            )
            for _ in range(120)
        ]
        means = np.array([d.mean for d in draws])
        stated = np.mean([d.standard_error for d in draws])
        if shift == 0:
            assert abs(means.mean()) < 4 * means.std() / np.sqrt(len(means))
            assert 0.8 < stated / means.std() < 2  # at a distance of zero the stated error is cautious
        else:
            assert 0.8 < stated / means.std() < 1.25


def test_kernel_distance_computed_by_subsets_equals_the_one_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(4)
    a, b = random.normal(size=(50, 6)), random.normal(size=(40, 6)) + 1
    looked_up = fidelity.kernel_distance(a, b, subset_size=20)
    monkeypatch.setattr("eval.fidelity.distances.MAX_ROWS_IN_MEMORY", 10)
    assert fidelity.kernel_distance(a, b, subset_size=20) == pytest.approx(looked_up)


@pytest.mark.parametrize("features", [np.zeros((1, 4)), np.zeros(4)])
def test_one_row_has_no_distance(features: np.ndarray) -> None:
    with pytest.raises(ValueError, match="features are"):
        fidelity.frechet_distance(features, np.zeros((3, 4)))
    with pytest.raises(ValueError, match="features are"):
        fidelity.kernel_distance(features, np.zeros((3, 4)))


def test_folders_say_what_is_wrong(folders: tuple[Path, Path], tmp_path: Path, inception: Inception) -> None:
    with pytest.raises(InputError, match="does not exist"):
        fidelity.fid(tmp_path / "none", folders[0])
    with pytest.raises(InputError, match="holds 0 pictures"):
        fidelity.fid(tmp_path, folders[0])
    for name in ("x.png", "y.png"):
        (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"x\.png cannot be read"):
        fidelity.fid(tmp_path, folders[0], network=inception)


def test_a_picture_of_another_type_is_refused(inception: Inception) -> None:
    with pytest.raises(ValueError, match="uint8"):
        fidelity.extract_features([np.zeros((8, 8, 3))], network=inception)  # type: ignore[list-item]
