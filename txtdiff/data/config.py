"""Settings of the data: which pictures, how they are cut, what is left out for guidance."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from datatools.console import parse_count
from datatools.errors import InputError
from datatools.synth import PROFILES, SIZES_PX
from txtdiff.settings import LocalPath, Settings

__all__ = ["CropConfig", "DataConfig", "LowResConfig", "NoTextConfig", "Probability", "SynthConfig"]

Probability = Annotated[float, Field(ge=0, le=1)]
AreaFraction = Annotated[float, Field(gt=0, le=1)]


class CropConfig(Settings):
    """Random square crops of pictures, as augmentation."""

    probability: Probability = 0.0
    """How often a picture is cropped."""
    min_area: AreaFraction = 0.75
    """Smallest area of a crop, as a fraction of the largest centred square's ("safebox") or of the whole
    picture's ("anywhere")."""
    max_area: AreaFraction = 1.0
    """Largest area of a crop, likewise."""
    around: Literal["safebox", "anywhere"] = "safebox"
    """"safebox": the box of all text stays whole, and a picture with text but without a safebox is not
    cropped. "anywhere": crops may cut text, as RandomResizedCrop does."""


class NoTextConfig(Settings):
    """What happens to pictures without text. A model without text treats every picture as one."""

    crop: Literal["like_text", "own", "borrowed_safebox"] = "like_text"
    """"like_text": anywhere, with the probability and areas of `data.crop`. "own": anywhere, with those
    below. "borrowed_safebox": as `data.crop`, around the safebox of a picture drawn at random."""
    probability: Probability = 0.0
    """How often such a picture is cropped, for crop = "own"."""
    min_area: AreaFraction = 0.25
    """Smallest area as a fraction of the whole picture's, for crop = "own"."""
    max_area: AreaFraction = 1.0
    """Largest area, likewise."""
    flip_probability: Probability = 0.0
    """How often such a picture is mirrored. Pictures with text never are."""


class LowResConfig(Settings):
    """How an upsampler's low-resolution input is made from the picture."""

    filter: Literal["area", "bilinear", "antialiased_bilinear", "bicubic", "antialiased_bicubic"] = (
        "antialiased_bicubic"
    )
    """Interpolation that makes the picture small. "area" averages what falls together."""
    blur_probability: Probability = 0.0
    """How often the small picture is blurred, so that the model learns to sharpen."""
    blur_sigma_min_px: Annotated[float, Field(gt=0)] = 0.4
    """Smallest width of the Gaussian blur, in pixels of the small picture."""
    blur_sigma_max_px: Annotated[float, Field(gt=0)] = 0.6
    """Largest width of the Gaussian blur."""
    blur_kernel_px: Annotated[int, Field(ge=1)] = 5
    """Edge of the blur's kernel, odd."""


class SynthConfig(Settings):
    """Pictures made while training, as `datatools synth` makes them: no two are alike, none is stored."""

    profile: str = "plain"
    """Their kind; `datatools synth --help` lists them."""
    later: tuple[str, ...] = ()
    """A curriculum: kinds that follow, each with the number of pictures after which it begins, as in
    ["mini-long@150k", "mini-lines@400k"]."""
    split: Literal["all", "train"] = "train"
    """"train" keeps the words and fonts that `datatools synth` holds out for tests unseen."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the pictures; the run's own seed decides noise and what is withheld."""
    drawn_px: Annotated[int, Field(ge=SIZES_PX[0], le=SIZES_PX[1])] | None = None
    """Edge at which they are drawn before they are shrunk to the model's; none: the model's."""

    @property
    def curriculum(self) -> tuple[tuple[int, str], ...]:
        """(first picture, profile) of each part, the first from 0."""
        return ((0, self.profile), *map(_part, self.later))

    @model_validator(mode="after")
    def _sound(self) -> Self:
        starts = [first for first, _ in self.curriculum]
        if starts != sorted(set(starts)):
            raise ValueError(f"later: {', '.join(self.later)} do not begin one after the other")
        for _, name in self.curriculum:
            if name not in PROFILES:
                raise ValueError(f"there is no profile '{name}'; there are {', '.join(PROFILES)}")
        return self


def _part(text: str) -> tuple[int, str]:
    name, at, images = text.partition("@")
    if not at:
        raise ValueError(f"later: '{text}' does not say when it begins: write {name}@100k")
    try:
        return parse_count(images), name
    except InputError as error:
        raise ValueError(f"later: {error.what}") from error


class DataConfig(Settings):
    """Which pictures are read, and how they become batches."""

    catalog: LocalPath | None = None
    """A catalog made by `datatools build-catalog`."""
    folder: LocalPath | None = None
    """Instead of a catalog: a folder of pictures with `.txt` files beside them, or a packed set as
    `datatools pack` made it, wherever it lies now."""
    synth: SynthConfig | None = None
    """Instead of either: synthetic pictures, made while training."""
    safeboxes: LocalPath | None = None
    """The folder's text boxes: a safeboxes.jsonl, JSON Lines or the fork's one object."""
    px_scales: LocalPath | None = None
    """The folder's enlargement factors: a px_scales.jsonl, likewise."""
    captions: LocalPath | None = None
    """The folder's captions: a captions.jsonl, likewise."""
    where: str | None = None
    """SQL condition on the columns of the catalog's views, e.g. "confidence > 0.8 and n_lines <= 3"."""
    class_name: str = "split_part(parse_filename(key), '_', 1)"
    """SQL for a picture's class on the same columns, for a model with classes, e.g. "source". The default is
    the file's name up to its first underscore."""
    class_map: LocalPath | None = None
    """A JSON object of class names and their numbers; none: the sorted names, counted from 0."""
    class_unknown: Annotated[int, Field(ge=0)] = 0
    """The number of classes that the map does not name."""
    require_captions: bool = False
    """Leave out pictures without a caption."""
    min_file_size_bytes: Annotated[int, Field(ge=0)] = 0
    """Leave out smaller files."""
    min_image_size_px: Annotated[int, Field(ge=0)] = 0
    """Leave out pictures whose shorter edge, as the original had it (px scale), is below this."""

    batch_size: Annotated[int, Field(ge=1)] = 16
    """Pictures per optimiser step, over all ranks and accumulation steps together."""
    workers: Annotated[int, Field(ge=0)] = 1
    """Processes per rank that read pictures; 0 reads in the training process. Changes no picture."""
    prefetch: Annotated[int, Field(ge=1)] = 2
    """Batches that each worker keeps ready."""

    jpeg_decoding: Literal["full", "reduced"] = "full"
    """"reduced": a JPEG is decoded at 1/2, 1/4 or 1/8 of its size where what is cut out of it keeps at least
    twice the model's resolution: at 64 px twice as fast from 500 px, ten times from 1,600 px. Grey levels
    differ by less than one on average."""

    crop: CropConfig = CropConfig()
    """Random crops."""
    no_text: NoTextConfig = NoTextConfig()
    """Pictures without text."""
    square: Literal["centre", "around_text"] = "centre"
    """Which square of an uncropped oblong picture is used: the central one, or a random one that holds the
    safebox (if one fits)."""
    drop_txt: Probability = 0.0
    """How often the text is withheld, so that guidance has an unconditional half."""
    drop_capt: Probability = 0.1
    """How often the caption is withheld."""
    drop_all: Probability = 0.1
    """How often both are withheld together, drawn independently of the two above."""
    drop_class: Probability = 0.1
    """How often the class is withheld: the network is told its last class instead."""
    low_res: LowResConfig = LowResConfig()
    """The small pictures an upsampler starts from."""
