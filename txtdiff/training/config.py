"""Settings of the optimiser, the averages and the run. Time is counted in images everywhere."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from datatools.console import parse_count
from datatools.errors import InputError
from txtdiff.settings import LocalPath, Settings

__all__ = ["AveragingConfig", "Images", "OptimConfig", "RunSettings"]

Length = Annotated[float, Field(gt=0, lt=0.288)]
"""Relative standard deviation of a power-function average; at 1 / sqrt(12) = 0.2887 its profile is the plain
mean of all weights."""


def _count(value: object) -> object:
    if isinstance(value, str):
        try:
            return parse_count(value)
        except InputError as error:
            raise ValueError(error.what) from error
    return value


Images = Annotated[int, BeforeValidator(_count), Field(ge=0)]
"""A number of pictures; "4k" and "1M" are understood."""

LearningRate = Annotated[float, Field(gt=0)]


class OptimConfig(Settings):
    """AdamW and its learning rates."""

    lr: LearningRate = 1e-4
    """Learning rate."""
    text_lr: LearningRate | None = None
    """Of the text encoder and all text attention, gains aside; none: lr."""
    gain_lr: LearningRate | None = None
    """Of the gains of text attention; none: lr."""
    caption_lr: LearningRate | None = None
    """Of a caption tower that is trained; none: lr."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of the mean of gradients."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the mean of squared gradients."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled weight decay."""
    warmup_images: Images = 0
    """The learning rate rises linearly over the first so many images."""
    warmup_from_image: Images = 0
    """Where that rise begins: to warm up again in a run that goes on with other settings."""
    anneal_images: Images | None = None
    """After the warm-up the learning rate falls linearly, to reach 0 after so many images; none: constant."""
    clip_grad_norm: Annotated[float, Field(gt=0)] | None = None
    """Larger gradient norms are scaled down to this; none: never."""
    microbatch: Annotated[int, Field(ge=1)] | None = None
    """Pictures per forward pass on each rank, to save memory; none: the rank's whole share of the batch."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of forward and backward on a GPU; weights stay float32, and lie channels last for bf16 and
    fp16. A CPU always computes in fp32."""
    loss_scale_log2: Annotated[int, Field(ge=0, le=40)] = 20
    """Starting loss scale of fp16, as a power of two."""
    loss_scale_growth_steps: Annotated[int, Field(ge=1)] = 500
    """Good steps after which the loss scale of fp16 doubles."""


def _distinct(rates: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(rates)) != len(rates):
        raise ValueError("a number is given twice")
    return rates


class AveragingConfig(Settings):
    """Averages of the weights, from which pictures are made."""

    rates: Annotated[
        tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1), AfterValidator(_distinct)
    ] = (0.9999,)
    """One set of averaged weights per rate. The first is what sampling uses unless told otherwise."""
    start: Literal["arithmetic", "exponential"] = "arithmetic"
    """"arithmetic": the plain mean of all weights until 1 / (1 - rate) steps, exponential from there.
    "exponential": from the first step."""
    lengths: Annotated[tuple[Length, ...], AfterValidator(_distinct)] = ()
    """Besides, power-function averages of these relative lengths, e.g. 0.05,0.1, from which averages of any
    length are made after training: `txtdiff convert RUN --ema-length 0.07 --out DIR`."""
    snapshot_every_images: Annotated[Images, Field(ge=1)] = 100_000
    """Images between the copies of those averages that are kept for it, in profiles/; one more at the end.
    A copy takes half the room of the weights for each length."""


class RunSettings(Settings):
    """The run as a whole."""

    images: Images = 0
    """How many pictures to train on in all, rounded up to whole batches."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Decides the first weights, the order of the pictures, crops and noise."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train. "auto": a GPU if there is one."""
    sharding: Literal["none", "full"] = "none"
    """Of several processes: "none", each holds the whole network; "full", each holds a part of weights,
    gradients, optimiser state and averages (FSDP2), to train what fits no single GPU."""
    compile: Literal["off", "model", "blocks", "graph"] = "off"
    """torch.compile of nothing, the whole network, or each repeated block (compiles faster). "graph": on a
    GPU, forward and backward pass are recorded once and replayed: for small networks, at once and without a
    compiler; one process, no dropout, no microbatches, not in fp16."""
    log_every_images: Annotated[Images, Field(ge=1)] = 1000
    """Images between lines of metrics.jsonl."""
    save_every_images: Annotated[Images, Field(ge=1)] = 100_000
    """Images between checkpoints; there is always one at the end."""
    keep_checkpoints: Annotated[int, Field(ge=1)] | None = None
    """Only the newest so many checkpoints stay in the run directory; none: all. Copies (upload) all stay."""
    grid_every_images: Annotated[Images, Field(ge=1)] | None = None
    """Images between sample grids; none: one with every checkpoint."""
    grid_pictures: Annotated[int, Field(ge=0, le=256)] = 16
    """Pictures in a sample grid; 0 draws none."""
    grid_steps: Annotated[int, Field(ge=2)] = 20
    """Denoising steps for each of them."""
    save_first_batch: bool = False
    """Write the first batch, as the network gets it, into first_batch/."""
    init: LocalPath | None = None
    """A checkpoint or run whose averaged weights a new run starts from; a modelN.pt of the parent project is
    continued, with the averages and the optimiser's state that lie beside it."""
    upload: str | None = None
    """An fsspec URL (gs://…, s3://…) to which every checkpoint is copied after it is complete, with the log.
    A run whose directory has no checkpoint as new goes on from the newest whole one there."""
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Where metrics go besides metrics.jsonl; needs the extra `track`."""
    matmul_precision: Literal["highest", "high", "medium"] = "highest"
    """torch.set_float32_matmul_precision: "high" and "medium" use TF32 on GPUs that have it, and
    "medium" uses bf16 on CPUs with AMX."""
    cudnn: Literal["deterministic", "benchmark"] = "deterministic"
    """"deterministic": a resumed run is bit for bit the unbroken one. "benchmark": faster convolutions."""
