"""Where metrics go besides metrics.jsonl: TensorBoard and Weights & Biases, from the extra `track`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from datatools.errors import InputError, in_words
from txtdiff.config import RunConfig
from txtdiff.config_files import plain_tree

__all__ = ["Track", "open_trackers"]

Track = Callable[[Mapping[str, float]], None]
"""Takes one line of metrics, `images` among them."""


@contextmanager
def open_trackers(config: RunConfig, out: Path, images: int) -> Iterator[list[Track]]:
    """The trackers that run.trackers names, open while the block runs.

    Args:
        config: the run's settings.
        out: its directory.
        images: where the run stands; what a killed run has told beyond that is told again.

    Raises:
        InputError: a tracker's package is not installed, or Weights & Biases does not take the run.
    """
    openers = {"tensorboard": _tensorboard, "wandb": _wandb}
    with ExitStack() as stack:
        try:
            yield [stack.enter_context(openers[name](config, out, images)) for name in config.run.trackers]
        except ModuleNotFoundError as error:
            if error.name not in ("tensorboard", "wandb"):
                raise
            raise InputError(
                f"run.trackers: the package {error.name} is not installed", "pip install 'txtdiff[track]'"
            ) from error


@contextmanager
def _tensorboard(config: RunConfig, out: Path, images: int) -> Iterator[Track]:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(out / "tensorboard"), purge_step=images + 1) as writer:

        def track(line: Mapping[str, float]) -> None:
            for name, value in line.items():
                if name != "images":
                    writer.add_scalar(name, value, int(line["images"]))

        yield track


@contextmanager
def _wandb(config: RunConfig, out: Path, images: int) -> Iterator[Track]:
    import wandb

    # The same directory is the same run, so that a resumed one goes on in the same curves.
    identity = hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:16]
    try:
        started = wandb.init(
            project="txtdiff",
            name=out.name,
            id=identity,
            resume="allow",
            dir=str(out),
            config=plain_tree(config),
        )
    except (wandb.Error, ValueError) as error:  # no key or one of no form, no such account, no answer
        raise InputError(
            f'run.trackers = "wandb": Weights & Biases does not take {out} ({in_words(error)})',
            "Run `wandb login` (or set WANDB_API_KEY), or set WANDB_MODE=offline, which keeps the curves in "
            f"{out / 'wandb'} until `wandb sync`; or leave wandb out of run.trackers.",
        ) from error
    with started as run:

        def track(line: Mapping[str, float]) -> None:
            run.log(
                {name: value for name, value in line.items() if name != "images"}, step=int(line["images"])
            )

        yield track
