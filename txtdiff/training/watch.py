"""What happens between steps: log lines, checkpoints, pictures that show how the run is doing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from datatools.console import say
from datatools.errors import InputError
from txtdiff.data.batch import Batch
from txtdiff.data.source import Rows
from txtdiff.model.unet import build_network
from txtdiff.training.bucket import upload
from txtdiff.training.checkpoint import remove_old_checkpoints
from txtdiff.training.distributed import Ranks, sum_counts, sum_over_ranks
from txtdiff.training.first_batch import dump_batch
from txtdiff.training.grid import Grid, draw_grid, prepare_grid
from txtdiff.training.loss_curve import draw_loss_curve
from txtdiff.training.metrics import MetricLog, Totals, averages_of, counts_no_step
from txtdiff.training.optimizer import rate_factor
from txtdiff.training.profiles import remove_later_snapshots, write_snapshot
from txtdiff.training.sharding import is_sharded, whole
from txtdiff.training.state import TrainingState, save_state
from txtdiff.training.trackers import Track, open_trackers
from txtdiff.training.utilisation import flops_per_picture, matmul_flops_per_s, training_dtype

__all__ = ["Watch", "open_watch"]

_STEPS_BETWEEN_ASKING = 16
"""Steps after which several ranks ask each other whether to stop. Each time all wait for the slowest, and
whoever preempts a job waits half a minute."""

_LOWEST_SCALE = 2.0**-10
"""A loss scale of fp16 that no single large gradient leads to: from 2^20 thirty steps in a row overflow."""


@dataclass
class Watch:
    """The files of a run besides its checkpoints. Only the leading rank has logs and a grid."""

    state: TrainingState
    out: Path
    ranks: Ranks
    metrics: MetricLog | None
    speed: MetricLog | None
    grid: Grid | None
    trackers: list[Track] = field(default_factory=list)
    note: str = ""
    """What the progress bar shows."""
    matmul_share_per_image_s: float = 0.0
    """Share of the ranks' matmul rate that one image per second takes; the leading rank knows it."""
    not_uploaded: list[Path] = field(default_factory=list)
    """Checkpoints whose copy to run.upload failed; tried again with the next one."""
    _since: tuple[float, int] = field(default_factory=lambda: (time.monotonic(), 0))

    def after_step(self, last: bool) -> None:
        """Write what is due after a step.

        Args:
            last: no step follows, so a checkpoint is due.
        """
        run, images = self.state.config.run, self.state.images
        if self._due(run.log_every_images):
            self._log()
        # Not where the run was stopped: what it leaves must not depend on that. And before the checkpoint: a
        # run killed between the two takes this step again.
        if images >= run.images or self._due(self.state.config.averaging.snapshot_every_images):
            write_snapshot(self.state, self.out, self.ranks.leads)
        saving = last or self._due(run.save_every_images)
        if saving:
            self._save()
        due = saving if run.grid_every_images is None else last or self._due(run.grid_every_images)
        if due and run.grid_pictures:
            self._draw(self.out / "grids" / f"{images}.png")

    def agree(self, stop: bool) -> bool:
        """Whether to stop, the same answer on all ranks; several ranks ask each other every few steps."""
        if self.ranks.n == 1:
            return stop
        if not self._due(_STEPS_BETWEEN_ASKING * self.state.config.data.batch_size):
            return False
        wish = torch.tensor(float(stop), device=self.state.totals.device)
        return bool(sum_over_ranks(wish, self.ranks) > 0)

    def dump(self, batch: Batch) -> None:
        """Write a batch as the network gets it."""
        if self.ranks.leads:
            dump_batch(batch, self.state.config, self.out / "first_batch")

    def _due(self, every_images: int) -> bool:
        before = self.state.images - self.state.config.data.batch_size
        return self.state.images // every_images > before // every_images

    def _sum_totals(self) -> Totals:
        """The sums of all ranks, each of which finds out for itself when training has diverged."""
        totals = sum_over_ranks(self.state.totals, self.ranks)
        if not totals.isfinite().all():
            values = averages_of(totals)
            raise InputError(
                f"training has diverged: at {self.state.images} images the loss is {values['loss']:.4g} and "
                f"the gradient norm {values['grad_norm']:.4g}",
                "Lower optim.lr or set optim.clip_grad_norm, and run the same command again: checkpoints "
                "written before this are whole, and nothing was saved since.",
            )
        return totals

    def _check_scale(self, totals: Totals) -> None:
        """See that fp16 still takes steps: those that overflow are left out, and the sums stay finite."""
        scaler = self.state.scaler
        if not scaler.is_enabled() or not counts_no_step(totals) or scaler.get_scale() >= _LOWEST_SCALE:
            return
        raise InputError(
            f"training has diverged: at {self.state.images} images no step since the last line of the log "
            f"could be taken in fp16, and the loss scale has fallen to {scaler.get_scale():.2g}",
            "Lower optim.lr or set optim.clip_grad_norm, and run the same command again. Remove checkpoints "
            "after the last line of metrics.jsonl that has a loss: theirs are the weights that overflow.",
        )

    def _log(self) -> None:
        state = self.state
        totals = self._sum_totals()
        self._check_scale(totals)
        state.totals = torch.zeros_like(totals)
        if self.metrics is None or self.speed is None:
            return
        values = averages_of(totals)
        config = state.config
        # The rate of the step just made, which began a batch ago.
        factor = rate_factor(state.images - config.data.batch_size, config.data.batch_size, config.optim)
        line = {"images": state.images, "lr": config.optim.lr * factor, **values}
        self.metrics.write(line)
        for track in self.trackers:
            track(line)
        now, (then, images) = time.monotonic(), self._since
        rate = (state.images - images) / max(now - then, 1e-9)
        mfu = rate * self.matmul_share_per_image_s
        self.note = f"loss {values['loss']:.4f}" if "loss" in values else "overflow in fp16"
        self.note += f", {mfu:.0%} MFU"
        self.speed.write({"images": state.images, "images_per_s": round(rate, 3), "mfu": round(mfu, 4)})
        self._since = (now, state.images)

    def _save(self) -> None:
        totals = self._sum_totals()
        failures = sum_counts(self.state.failures, self.ranks)
        # From here the leading rank alone carries the sums that are not logged yet, and the counts.
        self.state.totals = totals if self.ranks.leads else torch.zeros_like(totals)
        self.state.failures = failures if self.ranks.leads else Counter()
        if self.metrics is not None:
            self.metrics.sync()
        try:
            checkpoint = save_state(self.state, self.out, self.ranks.leads)
        except OSError as error:
            raise InputError(
                f"the checkpoint cannot be written to {self.out}: {error.strerror}",
                "Earlier checkpoints are whole. Make room and run the same command again.",
            ) from error
        if checkpoint is None or self.metrics is None:
            return
        self._upload(checkpoint)
        if self.state.config.run.keep_checkpoints is not None:
            remove_old_checkpoints(checkpoint, self.state.config.run.keep_checkpoints)
        draw_loss_curve(self.metrics.path, self.out / "loss.png")

    def _draw(self, path: Path) -> None:
        state = self.state
        averaged, network = whole(next(iter(state.averages.by_rate.values()))), state.network
        if is_sharded(network):  # the leading rank alone draws, from a copy that is whole
            tensors = whole(network.state_dict())
            if self.grid is not None:
                network = build_network(state.config.model)
                network.load_state_dict(tensors)
                network.to(state.totals.device)
                averaged = {name: mean.to(state.totals.device) for name, mean in averaged.items()}
        if self.grid is not None:
            draw_grid(self.grid, network, averaged, state.config, path)

    def _upload(self, checkpoint: Path) -> None:
        url = self.state.config.run.upload
        if url is not None:
            due = [path for path in self.not_uploaded if path.is_dir()]  # others were removed as too old
            self.not_uploaded = [path for path in (*due, checkpoint) if not upload(path, url)]


@contextmanager
def open_watch(state: TrainingState, out: Path, rows: Rows | None, ranks: Ranks) -> Iterator[Watch]:
    """The watch of a run; its logs are cut back to where the run stands."""
    if not ranks.leads:
        yield Watch(state, out, ranks, None, None, None)
        return
    if state.failures:
        say(f"so far could not be read: {dict(state.failures)}")
    metrics, speed = (
        MetricLog(out / "metrics.jsonl", state.images),
        MetricLog(out / "speed.jsonl", state.images),
    )
    drawn = state.config.run.grid_pictures
    grid = prepare_grid(rows, state.config, state.totals.device) if drawn else None
    since = (time.monotonic(), state.images)
    remove_later_snapshots(out, state.images)
    try:
        with open_trackers(state.config, out, state.images) as trackers:
            watch = Watch(state, out, ranks, metrics, speed, grid, trackers, _since=since)
            watch.matmul_share_per_image_s = _matmul_share(state, ranks)
            yield watch
    finally:
        metrics.close()
        speed.close()


def _matmul_share(state: TrainingState, ranks: Ranks) -> float:
    config, device = state.config, state.totals.device
    rate = matmul_flops_per_s(device, training_dtype(config, device))
    return flops_per_picture(config.model) / (rate * ranks.n)
