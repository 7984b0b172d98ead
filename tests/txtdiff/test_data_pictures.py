"""What the network is shown: crops, flips, drops and small pictures, each by its own law."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from catalogs import make_pictures, write_catalog
from PIL import Image, ImageDraw

from datatools.decode import decode
from datatools.errors import InputError
from txtdiff.data.batch import Conditions, collate, load_batches, to_network_range
from txtdiff.data.config import CropConfig, DataConfig, LowResConfig, NoTextConfig
from txtdiff.data.crop import Box
from txtdiff.data.dataset import PictureDataset, Sample
from txtdiff.data.low_res import as_channels, blur, make_low_res, shrink
from txtdiff.data.picture import Surroundings, cut_picture, fit_square, plan_cut
from txtdiff.data.source import read_rows
from txtdiff.data.tokenizer import DROP_TEXT, NULL_CAPTION
from txtdiff.model.config import ModelConfig, UpsamplerConfig


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rows = make_pictures(folder / "p", 10)
    rows[0]["captions"] = ["one", "two"]
    return write_catalog(folder / "catalog.duckdb", rows)


def samples(
    catalog: Path,
    n: int,
    *,
    uses_text: bool = True,
    seed: int = 0,
    resolution_px: int = 16,
    **changes: object,
) -> Sequence[Sample]:
    config = DataConfig(catalog=catalog, **changes)
    rows = read_rows(config, "needed")
    dataset = PictureDataset(rows, config, resolution_px=resolution_px, seed=seed, uses_text=uses_text)
    return [dataset[position] for position in range(n)]


def share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags)


def test_drops_have_their_probabilities(catalog: Path) -> None:
    seen = samples(catalog, 3000, drop_txt=0.2, drop_capt=0.3, drop_all=0.1)
    no_txt, no_capt = [s.txt == DROP_TEXT for s in seen], [s.capt == NULL_CAPTION for s in seen]
    assert share(no_txt) == pytest.approx(1 - 0.8 * 0.9, abs=0.035)
    assert share(no_capt) == pytest.approx(1 - 0.7 * 0.9, abs=0.035)
    both = [a and b for a, b in zip(no_txt, no_capt, strict=True)]
    assert share(both) == pytest.approx(0.1 + 0.9 * 0.2 * 0.3, abs=0.03)


def test_empty_text_is_not_a_dropped_text_and_captions_take_turns(catalog: Path) -> None:
    seen = samples(catalog, 400, drop_capt=0, drop_all=0)
    assert "" in {s.txt for s in seen} and DROP_TEXT not in {s.txt for s in seen}
    turns = [s.capt for s in seen if s.capt in ("one", "two")]
    assert share([capt == "one" for capt in turns]) == pytest.approx(0.5, abs=0.25)


def test_samples_are_a_function_of_seed_and_position(catalog: Path) -> None:
    changes = {"crop": CropConfig(probability=0.5, min_area=0.2), "drop_txt": 0.5}
    first, again, other = (samples(catalog, 20, seed=seed, **changes) for seed in (0, 0, 1))
    same = [np.array_equal(a.pixels, b.pixels) and a.txt == b.txt for a, b in zip(first, again, strict=True)]
    assert all(same)
    assert not all(np.array_equal(a.pixels, b.pixels) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_wrong_with_the_pictures_reaches_the_user_as_it_was_said(
    tmp_path: Path, workers: int
) -> None:
    rows = make_pictures(tmp_path / "p", 3)
    gone = read_rows(DataConfig(catalog=write_catalog(tmp_path / "c.duckdb", rows)), "needed")
    for row in rows:
        Path(row["uri"]).unlink()
    dataset = PictureDataset(gone, DataConfig(), resolution_px=16, seed=0, uses_text=True)
    batches = load_batches(
        dataset, [[0, 1]], Conditions(), workers=workers, prefetch=2, pin_memory=False, seed=1
    )
    with pytest.raises(InputError) as raised:
        next(batches)
    assert raised.value.what.startswith("20 pictures in a row cannot be read, the last one ")
    assert raised.value.what.endswith("(missing)")
    assert raised.value.remedy == "Have they moved since the catalog was made? Build it again."


def test_a_fault_of_our_own_is_not_taken_for_an_unreadable_picture(
    catalog: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("txtdiff.data.dataset.plan_cut", lambda *args, **more: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        samples(catalog, 1)


def prepare_picture(
    pixels: np.ndarray,
    around: Surroundings,
    config: DataConfig,
    *,
    resolution_px: int,
    rng: np.random.Generator,
) -> np.ndarray:
    size_px = (pixels.shape[1], pixels.shape[0])
    cut = plan_cut(size_px, around, config, resolution_px=resolution_px, rng=rng)
    return cut_picture(pixels, cut, resolution_px)


GRADIENT = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, :, None] * 3, (64, 64, 3)).copy()


def prepared(around: Surroundings, n: int, **changes: object) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    config = DataConfig(**changes)
    return [prepare_picture(GRADIENT, around, config, resolution_px=16, rng=rng) for _ in range(n)]


def test_only_pictures_without_text_are_mirrored() -> None:
    flips = {"no_text": NoTextConfig(flip_probability=0.3)}
    with_text = prepared(Surroundings(has_text=True), 200, **flips)
    assert all(picture[0, 0, 0] < picture[0, -1, 0] for picture in with_text)
    without = prepared(Surroundings(has_text=False), 1000, **flips)
    assert share([picture[0, 0, 0] > picture[0, -1, 0] for picture in without]) == pytest.approx(
        0.3, abs=0.06
    )


def cropped(pictures: list[np.ndarray]) -> float:
    """Share of pictures that show less than the whole gradient."""
    whole = prepare_picture(
        GRADIENT, Surroundings(True), DataConfig(), resolution_px=16, rng=np.random.default_rng(0)
    )
    return share([not np.array_equal(picture, whole) for picture in pictures])


CROP = CropConfig(probability=0.4, min_area=0.2, max_area=0.8)
BOX = Box(20, 20, 30, 30)


@pytest.mark.parametrize(
    ("around", "no_text", "expected"),
    [
        (Surroundings(True, BOX), NoTextConfig(), 0.4),
        (Surroundings(True), NoTextConfig(), 0.0),  # text nobody knows the place of stays whole
        (Surroundings(False), NoTextConfig(), 0.4),
        (Surroundings(False), NoTextConfig(crop="own", probability=0.7, max_area=0.8), 0.7),
        (Surroundings(False, lender=(BOX, (64, 64))), NoTextConfig(crop="borrowed_safebox"), 0.4),
        (Surroundings(True, Box(0, 0, 64, 64)), NoTextConfig(), 0.0),
    ],
)
def test_crops_have_their_probabilities(around: Surroundings, no_text: NoTextConfig, expected: float) -> None:
    assert cropped(prepared(around, 600, crop=CROP, no_text=no_text)) == pytest.approx(expected, abs=0.07)


def test_an_enlarged_picture_is_not_enlarged_further() -> None:
    """Stored at 4 times its size, 64 px hold 16 px of original: nothing smaller may be cut from it."""
    pictures = prepared(
        Surroundings(True, BOX, px_scale=4.0), 100, crop=CropConfig(probability=1, min_area=0.1)
    )
    assert cropped(pictures) == 0


def test_without_text_conditioning_every_picture_counts_as_textless(catalog: Path) -> None:
    flips = {"no_text": NoTextConfig(flip_probability=1.0)}
    straight = samples(catalog, 10, uses_text=True, **flips)
    turned = samples(catalog, 10, uses_text=False, **flips)
    for a, b in zip(straight, turned, strict=True):
        assert np.array_equal(a.pixels, b.pixels) == (not a.txt)


@pytest.mark.parametrize("size", [(200, 100), (100, 200), (37, 64), (16, 16), (500, 33)])
def test_uncropped_pictures_keep_their_middle_without_bands(size: tuple[int, int]) -> None:
    image = fit_square(Image.new("RGB", size, "white"), 16)
    assert image.size == (16, 16)
    assert np.asarray(image).min() == 255  # the fork's no-crop path left black bands (fork_spec 3.3)


def test_a_square_around_the_text_of_an_oblong_picture() -> None:
    pixels = np.zeros((40, 120, 3), dtype=np.uint8)
    pixels[10:30, 5:25] = 255
    around, rng = Surroundings(True, Box(5, 10, 25, 30)), np.random.default_rng(0)
    for _ in range(20):
        kept = prepare_picture(pixels, around, DataConfig(square="around_text"), resolution_px=40, rng=rng)
        assert kept.max(axis=2).sum() == pytest.approx(20 * 20 * 255)
    centre = prepare_picture(pixels, around, DataConfig(), resolution_px=40, rng=rng)
    assert centre.max() == 0


def photograph(path: Path, size_px: tuple[int, int], **options: object) -> None:
    """A JPEG with smooth shades, edges and letters."""
    width, height = size_px
    y, x = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
    shades = np.stack([x, y, 0.5 + 0.5 * np.sin(9 * x + 5 * y)], axis=-1)
    image = Image.fromarray((shades * 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.text((width * 0.3, height * 0.4), "WORDS", fill="white", font_size=height // 8)
    draw.ellipse((width * 0.6, height * 0.1, width * 0.8, height * 0.4), fill="red")
    image.save(path, "JPEG", quality=90, **options)


def test_reduced_decoding_takes_the_same_parts_and_nearly_the_same_grey_levels(tmp_path: Path) -> None:
    sizes = [(640, 480), (517, 613), (1024, 768), (250, 190)]
    turned = Image.Exif()
    turned[274] = 6
    rows = []
    for i, size in enumerate(sizes):
        path = tmp_path / f"{i}.jpg"
        photograph(path, size, **({"exif": turned} if i == 1 else {}))
        size = size[::-1] if i == 1 else size
        box = (size[0] * 0.3, size[1] * 0.4, size[0] * 0.55, size[1] * 0.55)
        row = {"key": path.name, "uri": str(path), "size_px": size, "text": "WORDS" if i else ""}
        rows.append(row | {"safebox": box if i else None})
    catalog = write_catalog(tmp_path / "c.duckdb", rows)
    changes = {"crop": CropConfig(probability=0.7, min_area=0.1), "square": "around_text"}
    changes["no_text"] = NoTextConfig(flip_probability=0.5)
    full, reduced = (
        samples(catalog, 60, resolution_px=64, jpeg_decoding=how, **changes) for how in ("full", "reduced")
    )
    apart = [np.abs(a.pixels.astype(int) - b.pixels) for a, b in zip(full, reduced, strict=True)]
    assert max(d.mean() for d in apart) < 2 and np.mean([d.mean() for d in apart]) < 0.8
    # Some crops are too small to be reduced: they are the same bit for bit.
    assert 0 < share([d.max() == 0 for d in apart]) < 0.9
    # The measure tells a shift of one pixel of the model's picture from none.
    shifted = [np.abs(s.pixels[1:].astype(int) - s.pixels[:-1]).mean() for s in full]
    assert np.mean(shifted) > 4 * np.mean([d.mean() for d in apart])


def test_a_jpeg_is_reduced_by_no_more_than_is_allowed(tmp_path: Path) -> None:
    photograph(tmp_path / "a.jpg", (400, 300))
    data = (tmp_path / "a.jpg").read_bytes()
    sizes = [decode(data, reduce=factor).shape[:2] for factor in (1, 1.9, 2, 3.9, 4, 7.9, 8, 100)]
    assert sizes == [(300, 400)] * 2 + [(150, 200)] * 2 + [(75, 100)] * 2 + [(38, 50)] * 2


def test_grey_is_pillows_grey() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    batch = collate([Sample(0, pixels, "", "")], Conditions(channels=1))
    assert np.array_equal(batch.pictures[0, 0].numpy(), np.asarray(Image.fromarray(pixels).convert("L")))
    assert to_network_range(torch.tensor([0, 255])).tolist() == [-1, 1]


def test_small_pictures_by_every_filter() -> None:
    large = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    small = {
        name: shrink(large, 8, LowResConfig(filter=name))
        for name in ("area", "bilinear", "antialiased_bilinear", "bicubic", "antialiased_bicubic")
    }
    assert torch.allclose(small["area"], torch.nn.functional.avg_pool2d(large, 4))
    reference = np.asarray(
        Image.fromarray(large[0, 0].numpy(), mode="F").resize((8, 8), Image.Resampling.BICUBIC)
    )
    assert np.allclose(small["antialiased_bicubic"][0, 0].numpy(), reference, atol=1e-4)
    assert len({round(float(value.std()), 5) for value in small.values()}) == 5


def test_small_pictures_are_grey_as_an_upsampler_saw_them_in_training() -> None:
    """A colouriser the mean of colours, an upsampler of grey pictures those that the loader makes."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    batches = [collate([Sample(0, pixels, "", "")], Conditions(channels=n)) for n in (3, 1)]
    colour, grey = (shrink(to_network_range(batch.pictures), 8, LowResConfig()) for batch in batches)
    one = UpsamplerConfig(small_size_px=8, low_res_channels=1)
    colouriser, upsampler = (ModelConfig(image_channels=n, upsampler=one) for n in (3, 1))
    assert torch.equal(as_channels(colour, colouriser), colour.mean(1, keepdim=True))
    torch.testing.assert_close(as_channels(colour, upsampler), grey, rtol=0, atol=0.5 / 127.5)
    assert (colour.mean(1, keepdim=True) - grey).abs().max() > 2 / 127.5
    assert as_channels(grey, upsampler) is grey


def test_blur_is_a_normalised_gaussian_of_its_own_chance() -> None:
    dot = torch.zeros(1, 9, 9)
    dot[0, 4, 4] = 1
    soft = blur(dot, 0.6, 5)
    assert soft.sum().item() == pytest.approx(1, abs=1e-6)
    assert soft[0, 4, 5] / soft[0, 4, 4] == pytest.approx(np.exp(-0.5 / 0.36), rel=1e-4)
    large = torch.rand(400, 1, 16, 16)
    config = LowResConfig(filter="area", blur_probability=0.25)
    made = make_low_res(large, 8, config, seed=0, positions=range(400))
    sharp = shrink(large, 8, config)
    blurred = [not torch.equal(a, b) for a, b in zip(made, sharp, strict=True)]
    assert share(blurred) == pytest.approx(0.25, abs=0.09)
    again = make_low_res(large[7:9], 8, config, seed=0, positions=[7, 8])
    assert torch.allclose(again, made[7:9], atol=1e-6)


def test_classes_are_withheld_by_their_probability(catalog: Path) -> None:
    config = DataConfig(catalog=catalog, drop_class=0.25, class_name="text")
    rows = read_rows(config, "needed", 20)
    dataset = PictureDataset(rows, config, resolution_px=16, seed=0, uses_text=True, n_classes=20)
    seen = [dataset[position] for position in range(1000)]
    assert share([s.label == 19 for s in seen]) == pytest.approx(0.25, abs=0.05)
    texts = {s.txt: s.label for s in seen if s.label != 19 and s.txt != DROP_TEXT}
    assert [texts[text] for text in sorted(texts)] == list(range(len(texts)))
    batch = collate(seen[:3], Conditions(classes=True))
    assert batch.y is not None and batch.conditioning("cpu")["y"].tolist() == [s.label for s in seen[:3]]
